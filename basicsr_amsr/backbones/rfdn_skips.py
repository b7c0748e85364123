"""AMSR's units of RFDN: its shallow residual blocks (section 3.2), which lie open in each distillation block.

Skipped: the three residual 3×3 convolutions of each block with their activation, three quarters of its arithmetic.
Dense: the 1×1 distillation and fusion, the last 3×3 convolution, which has no residual connection, and ESA, which looks
at the whole image.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from basicsr_amsr.backbones.skipping import Skipping
from basicsr_amsr.backbones.skips import Skip
from basicsr_amsr.execution.torch_sparse.unit import read_unit


@dataclass(frozen=True)
class Shallow:
    """A shallow residual block of an RFDB."""

    number: int

    def __call__(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """The output of the block for x."""
        result: torch.Tensor = module.act(x + module.shallow[self.number](x))
        return result


class SkipShallow:
    """An RFDB whose shallow residual blocks run where the mask is."""

    def __init__(self, module: Any) -> None:
        self.units = [read_unit(module, Shallow(number)) for number in range(len(module.shallow))]

    def forward(self, module: Any, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """Runs an RFDB, as its own `forward` does, at the active pixels."""
        distilled = []
        for distill, unit in zip(module.distill, self.units, strict=True):
            distilled.append(module.act(distill(x)))
            x = skipping.run(unit, module, x)
        distilled.append(module.act(module.last(x)))
        return module.esa(module.fuse(torch.cat(distilled, 1)))


def skips(net: nn.Module) -> dict[str, Skip]:
    """The distillation blocks of an RFDN."""
    blocks = net.get_submodule('body.blocks').named_children()
    return {f'body.blocks.{name}': SkipShallow(block) for name, block in blocks}
