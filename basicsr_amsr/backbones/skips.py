"""How a module of a network runs where a mask skips pixels; an adapter names one for each of its modules."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from basicsr_amsr.backbones.skipping import Skipping
from basicsr_amsr.execution.reading import Block, read_block
from basicsr_amsr.execution.unit import ConvUnit, replace


class Skip(Protocol):
    """The sparse form of a module. It holds no modules and no tensors: networks are copied and replicated."""

    def forward(self, module: Any, skipping: Skipping, *args: Any) -> torch.Tensor:
        """Runs the module where the mask is; stands in for `module.forward(*args)`."""


class SkipUnit:
    """The module is a residual unit: what it computes is read off its `forward` (`read_block`).

    Args:
        block: what was read.
    """

    def __init__(self, block: Block) -> None:
        self.block = block

    @classmethod
    def of(cls, module: nn.Module) -> SkipUnit:
        """Reads how a module skips, once for all modules that are built alike."""
        return cls(read_block(module))

    def forward(self, module: nn.Module, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """The unit on the active pixels."""
        return skipping.run(self.block.bind(module), x)


class SkipConv:
    """The module is a convolution whose skipped pixels keep its input: the paper's identity per convolution."""

    def forward(self, module: nn.Conv2d, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """The convolution at the active pixels."""
        plain = nn.Conv2d.__new__(nn.Conv2d)  # a view of the module whose forward is the plain one
        plain.__dict__ = {**module.__dict__}
        return skipping.run(ConvUnit((plain,), replace), x)


class SkipLayers:
    """The module is a chain of convolutions with activations, and each of them is skipped by itself, without residual.

    A skipped pixel keeps the value from before the convolution, so training has to follow.
    """

    def forward(self, module: nn.Sequential, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """One layer after the other at the active pixels."""
        layers: list[list[nn.Module]] = []
        for stage in module:
            if isinstance(stage, nn.Conv2d):
                layers.append([])
            layers[-1].append(stage)
        for layer in layers:
            x = skipping.run(ConvUnit(tuple(layer), replace), x)
        return x


# Paths of modules in a network, and how they run.
Skips = Callable[[nn.Module], Mapping[str, Skip]]


def units_of(*classes: type[nn.Module]) -> Skips:
    """All modules of these classes are residual units."""
    def skips(net: nn.Module) -> dict[str, Skip]:
        return {path: SkipUnit.of(module) for path, module in net.named_modules() if isinstance(module, classes)}

    return skips
