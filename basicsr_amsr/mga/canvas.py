"""A coarse feature and a coarse image with room for whole patches, which are read and refined in their places."""
from __future__ import annotations

from typing import NamedTuple

import torch

from basicsr_amsr.execution import picture_memory
from basicsr_amsr.mga.halo_patches import HALO, grid_size


class Canvas(NamedTuple):
    """Both maps of N images of height × width, float32.

    Attributes:
        padded: the feature (N, C, ⌈H/p⌉·p + 2, ⌈W/p⌉·p + 2), zero outside the images.
        image: (N, 3, ⌈H/p⌉·s·p, ⌈W/p⌉·s·p).
        size: H, W. scale: s.
    """

    padded: torch.Tensor
    image: torch.Tensor
    size: tuple[int, int]
    scale: int

    @property
    def feature(self) -> torch.Tensor:
        """The feature (N, C, H, W), a view."""
        height, width = self.size
        return self.padded[..., HALO:HALO + height, HALO:HALO + width]

    @property
    def whole(self) -> torch.Tensor:
        """The feature in whole patches, a view."""
        return self.padded[..., HALO:-HALO, HALO:-HALO]

    @property
    def picture(self) -> torch.Tensor:
        """The image (N, 3, s·H, s·W), a view."""
        height, width = self.size
        return self.image[..., :self.scale * height, :self.scale * width]


def empty_canvas(batch: int, channels: int, height: int, width: int, patch_size: int, scale: int) -> Canvas:
    """A canvas whose feature and picture are to be written."""
    rows, cols = (patch_size * number for number in grid_size(height, width, patch_size))
    padded = picture_memory.empty((batch, channels, rows + 2 * HALO, cols + 2 * HALO))
    around = padded.numpy()
    around[:, :, :HALO] = around[:, :, HALO + height:] = 0
    around[..., :HALO] = around[..., HALO + width:] = 0
    return Canvas(padded, picture_memory.empty((batch, 3, scale * rows, scale * cols)), (height, width), scale)
