"""A network cut in two, as MGA takes it."""
from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import nn


class BaseNet(Protocol):
    """The base net of MGA: a super-resolution network that can be stopped at its last LR feature."""

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """RGB image (N, 3, H, W) in 0–1 to the coarse feature (N, C, H, W)."""

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Coarse feature (N, C, H, W), and the image it came from, to the coarse image (N, 3, sH, sW) in 0–1."""


class MGASplit(NamedTuple):
    """A network cut in two for MGA (ECCV 2022, section 3).

    `base` is a BaseNet. `refine(feature, halo=True)` maps feature patches with a halo of one, (N, C, h + 2, w + 2), to
    image patches (N, 3, s·h, s·w) in 0–1, for any h, w ≥ 1: its unpadded convolutions consume the halo. With
    `halo=False` it takes the map without one, (N, C, h, w), and pads those convolutions instead: that is variant D,
    whose costs in table 1 have no border. `num_feat` is C; `scale` is s where no option `upscale` tells it.
    """

    base: nn.Module
    refine: nn.Module
    num_feat: int
    scale: int | None = None
