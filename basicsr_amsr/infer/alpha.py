"""Transparency: what colour stands under invisible pixels, and alpha that rings nowhere."""
from __future__ import annotations

import torch
import torch.nn.functional as F


def filled(colour: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """The colours, with those of invisible pixels made from visible ones around, so that no rim of them shows.

    Nearby colours come first: what is missing is taken from means over 2×2, 4×4 … pixels, weighted by alpha.

    Args:
        colour: (B, C, H, W). alpha: (B, 1, H, W) in 0–1.

    Returns:
        (B, C, H, W); where alpha is over 0, as it was.
    """
    return torch.where(alpha > 0, colour, _mean(colour * alpha, alpha))


def _mean(weighted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    mean = weighted / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    if bool((weight > 0).all()) or max(weight.shape[-2:]) == 1:
        return mean
    coarse = _mean(*(F.avg_pool2d(each, 2, ceil_mode=True) for each in (weighted, weight)))
    wide = F.interpolate(coarse, size=weight.shape[-2:], mode='bilinear')
    return torch.where(weight > 0, mean, wide)


def within_neighbours(alpha: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    """The upscaled alpha, nowhere above or below what its pixel's 3×3 neighbours had: opaque stays opaque.

    Args:
        alpha: (B, 1, H, W). large: (B, 1, sH, sW).
    """
    most = F.max_pool2d(alpha, 3, 1, 1)
    least = -F.max_pool2d(-alpha, 3, 1, 1)
    least, most = (F.interpolate(each, size=large.shape[-2:], mode='nearest') for each in (least, most))
    return torch.minimum(torch.maximum(large, least), most)
