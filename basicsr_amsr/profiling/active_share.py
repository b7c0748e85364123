"""Which part of an image a network computes."""
from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from basicsr_amsr.profiling.macs import evaluating


@runtime_checkable
class Selective(Protocol):
    """A network that computes a part of the pixels: what it tells the profiler. MGA is one.

    Attributes:
        last_keep: share of the patches or pixels computed in the last call, 0–1.
    """

    last_keep: float

    def active_pixels(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W) bool: the pixels of the LR image `x` (N, C, H, W) on which the skippable part is computed."""
        ...


def last_keep(net: nn.Module) -> float:
    """The share that the last call of `net` computed; 1.0 for a network that selects nothing."""
    return float(getattr(net, 'last_keep', 1.0))


def active_pixels(net: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    """(H, W) bool on the CPU: what `net` computes of the first image of `x`; None where it selects nothing."""
    plain = getattr(net, '_orig_mod', net)
    if not isinstance(plain, Selective):
        return None
    with torch.no_grad(), evaluating(net):
        return plain.active_pixels(x)[0].cpu()
