"""Feature patches with a halo: padding, gathering, and writing image patches back."""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

HALO = 1


class PatchIndex(NamedTuple):
    """Which patches: batch, row and column indices into the patch grid, three int64 tensors of one length."""

    batch: torch.Tensor
    row: torch.Tensor
    col: torch.Tensor

    def chunks(self, size: int) -> list[PatchIndex]:
        """The same patches in runs of at most `size`."""
        return [PatchIndex(*parts) for parts in zip(*(t.split(size) for t in self), strict=True)]


def grid_size(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches that cover height × width."""
    return -(-height // patch_size), -(-width // patch_size)


def pad_to_grid(feature: torch.Tensor, patch_size: int, halo: int = HALO) -> torch.Tensor:
    """Zero-pad (N, C, H, W) by the halo on all sides, and right and below up to a multiple of `patch_size`."""
    height, width = feature.shape[-2:]
    return F.pad(feature, (halo, halo + -width % patch_size, halo, halo + -height % patch_size))


def all_patches(batch: int, rows: int, cols: int, device: torch.device) -> PatchIndex:
    """Every patch of a grid, in row-major order."""
    index = torch.arange(batch * rows * cols, device=device)
    return PatchIndex(index // (rows * cols), index // cols % rows, index % cols)


def gather_patches(padded: torch.Tensor, index: PatchIndex, patch_size: int, halo: int = HALO) -> torch.Tensor:
    """Patches of a padded feature (N, C, ·, ·) as a channels-last batch (len(index), C, p + 2·halo, p + 2·halo).

    One indexed copy of an overlapping view: no loop over patches or images, and the gradients of overlaps add up.
    """
    window = patch_size + 2 * halo
    windows = padded.permute(0, 2, 3, 1).unfold(1, window, patch_size).unfold(2, window, patch_size)
    chosen = windows.permute(0, 1, 2, 4, 5, 3)[index.batch, index.row, index.col]
    return chosen.permute(0, 3, 1, 2)


def replace_patches(image: torch.Tensor, patches: torch.Tensor, index: PatchIndex) -> torch.Tensor:
    """A copy of `image` (N, C, H, W) in which image patches (len(index), C, q, q) stand at their grid positions.

    Where H or W is no multiple of q, what lies outside the image is cut off.
    """
    height, width = image.shape[-2:]
    size = patches.shape[-1]
    rows, cols = grid_size(height, width, size)
    canvas = F.pad(image, (0, cols * size - width, 0, rows * size - height))  # a copy even where nothing is padded
    grid = canvas.view(*image.shape[:2], rows, size, cols, size).permute(0, 2, 4, 1, 3, 5)
    grid[index.batch, index.row, index.col] = patches.to(canvas.dtype)
    return canvas[..., :height, :width]


def join_patches(patches: torch.Tensor, batch: int, height: int, width: int) -> torch.Tensor:
    """Images (batch, C, height, width) from all their patches (·, C, q, q), in the order of `all_patches`.

    What lies outside the images is cut off.
    """
    channels, size = patches.shape[1], patches.shape[-1]
    rows, cols = grid_size(height, width, size)
    grid = patches.reshape(batch, rows, cols, channels, size, size).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(batch, channels, rows * size, cols * size)[..., :height, :width]
