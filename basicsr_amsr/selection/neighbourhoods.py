"""Maps and masks over neighbourhoods, patches and windows; all (B, 1, H, W) in, patch grids are (B, rows, cols)."""
from __future__ import annotations

import torch
import torch.nn.functional as F

from basicsr_amsr.selection.high_frequency import weighted_sum


def smooth(score: torch.Tensor, size: int) -> torch.Tensor:
    """Mean over size × size pixels (odd), of those that lie in the image."""
    half = size // 2
    for dim, length in ((2, score.shape[2]), (3, score.shape[3])):
        padded = F.pad(score, (0, 0, half, half) if dim == 2 else (half, half))
        position = torch.arange(length, device=score.device)
        pixels = (position + half).clamp(max=length - 1) - (position - half).clamp(min=0) + 1
        score = weighted_sum(padded, [1.0] * size, dim) / pixels.view(-1, *[1] * (3 - dim))
    return score


def dilate(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Boolean mask grown by `radius` pixels in every direction, diagonals included."""
    for dim in (2, 3):
        grown = mask.clone()
        for shift in range(1, min(radius, mask.shape[dim] - 1) + 1):
            length = mask.shape[dim] - shift
            grown.narrow(dim, shift, length).logical_or_(mask.narrow(dim, 0, length))
            grown.narrow(dim, 0, length).logical_or_(mask.narrow(dim, shift, length))
        mask = grown
    return mask


def patch_mean(values: torch.Tensor, size: int) -> torch.Tensor:
    """Means over size × size patches from the upper left, (B, ⌈H/size⌉, ⌈W/size⌉), of the pixels in the image."""
    if size == 1:
        return values[:, 0].float()
    return F.avg_pool2d(values.float(), size, ceil_mode=True, count_include_pad=False)[:, 0]


def patch_any(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Patches with an active pixel or more, bool (B, ⌈H/size⌉, ⌈W/size⌉)."""
    return F.max_pool2d(mask.float(), size, ceil_mode=True)[:, 0].bool()


def patch_over(mask: torch.Tensor, size: int, threshold: float) -> torch.Tensor:
    """Patches whose share of active pixels is over `threshold`, bool (B, ⌈H/size⌉, ⌈W/size⌉)."""
    return patch_mean(mask, size) > threshold


def expand_patches(patches: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """Mask (B, 1, height, width) of all pixels in the active patches (B, rows, cols)."""
    wide = patches.repeat_interleave(size, dim=1).repeat_interleave(size, dim=2)
    return wide[:, None, :height, :width]


def window_mask(mask: torch.Tensor, size: int, threshold: float, shift: int = 0) -> torch.Tensor:
    """Attention windows whose share of active pixels is over `threshold` (AMSR, its rule for transformers).

    Args:
        mask: bool (B, 1, H, W), H and W multiples of `size` (the network pads image and mask alike).
        size: side of a window.
        threshold: 0 takes every window with an active pixel.
        shift: the cyclic shift of the layer; the mask is shifted up and left by it, as Swin shifts its features.

    Returns:
        bool (B, H / size, W / size), windows of the shifted image in row-major order.
    """
    return patch_over(torch.roll(mask, (-shift, -shift), dims=(2, 3)) if shift else mask, size, threshold)
