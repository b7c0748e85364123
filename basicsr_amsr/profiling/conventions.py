"""Where the figures of the MGA paper differ from what really runs: what they leave out, and what they hold besides."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn

from basicsr_amsr.mga.mask import MaskPrediction
from basicsr_amsr.mga.network import MGA

# Table 1's figures of the M networks hold the mask module's first convolution (and its ReLU) but neither the second
# nor the dynamic convolution: 0.2 % at most.
PAPER_IGNORED: dict[type[nn.Module], tuple[str, ...]] = {MaskPrediction: ('conv2', 'kernel')}


def paper_ignored(net: nn.Module) -> list[str]:
    """Dotted paths of the modules of `net` that do not enter `macs_paper`."""
    return [f'{path}.{child}'.lstrip('.') for path, module in net.named_modules()
            for kind, children in PAPER_IGNORED.items() if isinstance(module, kind) for child in children]


@contextmanager
def paper_extra(net: nn.Module, for_the_paper: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Inside, the MGA networks of `net` make also the coarse image that they leave out where all of it is refined.

    They make it within `for_the_paper()`. Table 1 holds it in D and A.
    """
    with ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, MGA):
                stack.enter_context(unneeded_image(module, for_the_paper))
        yield


@contextmanager
def unneeded_image(net: MGA, for_the_paper: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Counts the coarse image of one network for the paper, though it is not needed; see `paper_extra`."""
    def coarse_image(feature: torch.Tensor, x: torch.Tensor, needed: bool) -> torch.Tensor | None:
        if not needed:
            with for_the_paper():
                net.base.reconstruct(feature, x)
        return MGA.coarse_image(net, feature, x, needed)

    net.coarse_image = coarse_image  # type: ignore[method-assign]
    try:
        yield
    finally:
        del net.coarse_image
