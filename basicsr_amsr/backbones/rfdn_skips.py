"""AMSR's units of RFDN: its shallow residual blocks (section 3.2), which lie open in each distillation block.

Skipped: the three residual 3×3 convolutions of each block with their activation, three quarters of its arithmetic.
Dense: the 1×1 distillation and fusion, the last 3×3 convolution, which has no residual connection, and ESA, which looks
at the whole image.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from basicsr_amsr.backbones.skipping import Skipping
from basicsr_amsr.backbones.skips import Skip
from basicsr_amsr.execution.unit import ConvUnit


class SkipShallow:
    """An RFDB whose shallow residual blocks run where the mask is."""

    def forward(self, module: Any, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """Runs an RFDB, as its own `forward` does, at the active pixels."""
        distilled = []
        for distill, shallow in zip(module.distill, module.shallow, strict=True):
            distilled.append(module.act(distill(x)))
            x = skipping.run(ConvUnit((shallow,), lambda x, body: module.act(x + body)), x)
        distilled.append(module.act(module.last(x)))
        return module.esa(module.fuse(torch.cat(distilled, 1)))


def skips(net: nn.Module) -> dict[str, Skip]:
    """The distillation blocks of an RFDN."""
    return {f'body.blocks.{i}': SkipShallow() for i in range(len(net.get_submodule('body.blocks')._modules))}
