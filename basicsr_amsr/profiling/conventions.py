"""Whose costs the tables of the MGA paper leave out."""
from __future__ import annotations

from torch import nn

from basicsr_amsr.mga.mask import MaskPrediction

# Table 1's figures of the M networks hold the mask module's first convolution (and its ReLU) but neither the second
# nor the dynamic convolution: 0.2 % at most.
PAPER_IGNORED: dict[type[nn.Module], tuple[str, ...]] = {MaskPrediction: ('conv2', 'kernel')}


def paper_ignored(net: nn.Module) -> list[str]:
    """Dotted paths of the modules of `net` that do not enter `macs_paper`."""
    return [f'{path}.{child}'.lstrip('.') for path, module in net.named_modules()
            for kind, children in PAPER_IGNORED.items() if isinstance(module, kind) for child in children]
