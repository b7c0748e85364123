"""How a module of a network runs where a mask skips pixels; an adapter names one for each of its modules."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import nn

from basicsr_amsr.backbones.skipping import Skipping
from basicsr_amsr.execution.torch_sparse.unit import Unit, read_unit


class Skip(Protocol):
    """The sparse form of a module. It holds no modules and no weights: networks are copied and replicated."""

    def forward(self, module: Any, skipping: Skipping, *args: Any) -> torch.Tensor:
        """Runs the module where the mask is; stands in for `module.forward(*args)`."""


class SkipUnit:
    """The module is a unit: what it computes is read off its `forward` (`read_unit`). A convolution by itself is one
    too, whose skipped pixels keep its input: the paper's identity per convolution.

    Args:
        unit: what was read.
    """

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    @classmethod
    def of(cls, module: nn.Module) -> SkipUnit:
        """Reads how a module skips, once for all modules that are built alike."""
        return cls(read_unit(module))

    def forward(self, module: nn.Module, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """The unit on the active pixels."""
        return skipping.run(self.unit, module, x)


@dataclass(frozen=True)
class Layer:
    """Some stages of a chain of modules, from `start` to before `stop`."""

    start: int
    stop: int

    def __call__(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """The output of these stages for x."""
        for stage in module[self.start:self.stop]:
            x = stage(x)
        return x


class SkipLayers:
    """The module is a chain of convolutions with activations, and each of them is skipped by itself, without residual.

    A skipped pixel keeps the value from before the convolution, so training has to follow.
    """

    def __init__(self, module: Any) -> None:
        starts = [number for number, stage in enumerate(module) if isinstance(stage, nn.Conv2d)]
        self.units = [read_unit(module, Layer(*each)) for each in pairwise([*starts, len(module)])]

    def forward(self, module: nn.Sequential, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """One layer after the other at the active pixels."""
        for unit in self.units:
            x = skipping.run(unit, module, x)
        return x


# Paths of modules in a network, and how they run.
Skips = Callable[[nn.Module], Mapping[str, Skip]]


def units_of(*classes: type[nn.Module]) -> Skips:
    """All modules of these classes are residual units."""
    def skips(net: nn.Module) -> dict[str, Skip]:
        return {path: SkipUnit.of(module) for path, module in net.named_modules() if isinstance(module, classes)}

    return skips
