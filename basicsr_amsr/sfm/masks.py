"""Masks on the plane of DCT coefficients, by distance from its DC corner (SFM, section 4).

Distances are measured in coefficients; fractions are of r_max = sqrt(h² + w²), which no coefficient reaches. A mask is
boolean, True where a coefficient is kept, of shape (H, W), or (B, H, W) for a band per sample.
"""
from __future__ import annotations

import math
from functools import lru_cache

import torch

from basicsr_amsr.transforms.base import Generators, drawn


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def radius_map(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Distance of each coefficient from DC, (H, W) float32: sqrt(i² + j²). One tensor for all: not to be edited."""
    rows = torch.arange(height, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)
    return (rows.square() + columns.square()).sqrt().float().to(device)


def max_radius(height: int, width: int) -> float:
    """r_max = sqrt(h² + w²)."""
    return math.hypot(height, width)


def band_mask(height: int, width: int, bands: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Drop a band per sample: coefficients with inner < r < outer, both strictly.

    Args:
        height, width: of the plane.
        bands: (B, 2), the inner and outer radius in fractions of r_max; it may be negative or above 1.
        device: where the mask is wanted.

    Returns:
        (B, H, W), boolean.
    """
    radius = radius_map(height, width, device)
    limits = (bands * max_radius(height, width)).float().to(device, non_blocking=True)
    inner, outer = limits[:, 0, None, None], limits[:, 1, None, None]
    return (radius <= inner) | (radius >= outer)


def central_bands(generators: Generators) -> torch.Tensor:
    """Bands of the central mode, (B, 2): two radii uniform in [0, r_max], the smaller first.

    What lies at u·r_max is dropped with probability 2(u − u²): one radius below and one above, in either order. DC is
    never dropped.
    """
    return drawn(torch.rand, generators, 2).sort(dim=1).values


def targeted_bands(centre: float, sigma: float, generators: Generators) -> torch.Tensor:
    """Bands of the targeted mode, (B, 2): from centre − |N(0, σ)| to centre + |N(0, σ)|, two independent draws.

    What lies at u·r_max is dropped with probability 2(1 − Φ(|u − centre| / σ)).
    """
    spread = drawn(torch.randn, generators, 2).abs() * sigma
    return centre + spread * torch.tensor([-1.0, 1.0], dtype=torch.float64)


def random_masks(height: int, width: int, keep: float, generators: Generators) -> torch.Tensor:
    """Masks of the random mode, (B, H, W) boolean on the generators' device: each coefficient kept with probability
    `keep`, DC as any other."""
    return torch.stack([torch.rand(height, width, generator=one, device=one.device) for one in generators]) < keep
