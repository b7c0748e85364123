"""Energy of images by band of spatial frequency, from their DCT (the frequency pictures of SFM, section 3)."""
from __future__ import annotations

import torch

from basicsr_amsr.sfm.dct import dct2

NYQUIST = 0.5  # cycles per pixel


def band_frequencies(bands: int) -> torch.Tensor:
    """The middle of each band in cycles per pixel (fractions of the sampling rate), float64."""
    return (torch.arange(bands, dtype=torch.float64) + 0.5) * (NYQUIST / bands)


def band_power(image: torch.Tensor, bands: int = 100) -> torch.Tensor:
    """Mean square of the DCT coefficients in each band of spatial frequency.

    The coefficient (i, j) of an H×W image has the frequency sqrt((i / 2H)² + (j / 2W)²) cycles per pixel. Bands divide
    0–0.5 evenly; what lies beyond (the corner of diagonal frequencies) belongs to none.

    Args:
        image: (…, H, W), floating point. On the 0–255 scale, white noise of standard deviation s has the power s² in
            every band.
        bands: how many.

    Returns:
        (…, bands) float64 on the CPU; NaN where a small image has no coefficient.

    Raises:
        ValueError: `bands` is not positive.
    """
    if bands < 1:
        raise ValueError(f'bands is {bands}; at least 1 is needed')
    height, width = image.shape[-2:]
    rows = torch.arange(height, dtype=torch.float64)[:, None] / (2 * height)
    columns = torch.arange(width, dtype=torch.float64) / (2 * width)
    index = ((rows.square() + columns.square()).sqrt() * (bands / NYQUIST)).long().flatten()
    inside = index < bands
    power = dct2(image).double().cpu().square().flatten(-2)[..., inside]
    index = index[inside]
    counts = torch.bincount(index, minlength=bands)
    sums = torch.zeros(*power.shape[:-1], bands, dtype=torch.float64).index_add_(-1, index, power)
    return sums / counts.where(counts > 0, torch.nan)
