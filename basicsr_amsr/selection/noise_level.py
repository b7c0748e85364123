"""How noisy an image is, and a high-frequency map without the noise's share."""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from basicsr_amsr.selection.high_frequency import gaussian, weighted_sum
from basicsr_amsr.selection.neighbourhoods import smooth

# Difference of two Laplacians: blind to linear slopes, and to edges along either axis (Immerkær, CVIU 64(2), 1996).
SECOND_DIFFERENCE = (1.0, -2.0, 1.0)  # along both axes
DETAIL_GAIN = 6.0  # root of the sum of the squares of its 3×3 weights
NORMAL_QUARTILE = 0.6744898  # the median of |z|, z standard normal
WINDOW = 5  # pixels of the local power; chosen on val/div2k_valid_crop256, where 3 and 7 do much the same


def noise_level(y: torch.Tensor) -> torch.Tensor:
    """Standard deviation of white noise in each image: Immerkær's filter, with the median in place of his mean.

    The median ignores texture in up to half of the image; where there is more, it is taken for noise. Flat areas,
    such as the blocks of strong JPEG compression, give 0.

    Args:
        y: (B, 1, H, W), any size from 1.

    Returns:
        (B,), in the unit of `y`.
    """
    padded = F.pad(y, (1, 1, 1, 1), mode='replicate')
    detail = weighted_sum(weighted_sum(padded, SECOND_DIFFERENCE, 2), SECOND_DIFFERENCE, 3).abs_()
    return detail.flatten(1).median(dim=1).values / (NORMAL_QUARTILE * DETAIL_GAIN)


def noise_gain(kernel: np.ndarray) -> float:
    """How much of white noise's power is left by the high-pass filter of a blur's weights: g² of `discount_noise`."""
    high_pass = -np.outer(kernel, kernel)
    middle = len(kernel) // 2
    high_pass[middle, middle] += 1
    return float((high_pass**2).sum())


def discount_noise(score: torch.Tensor, level: torch.Tensor, sigma: float, size: int, strength: float) -> torch.Tensor:
    """The map times the root of the share of its local power that is not noise, as a Wiener filter estimates it.

    With P the mean of score² over 5×5 pixels, σ the noise level and g the gain of the high-pass filter:
    score · √(max(P − strength · σ²g², 0) / P). Without noise the map stays as it is.

    Args:
        score: (B, 1, H, W), of `high_frequency`.
        level: (B,), of `noise_level`.
        sigma, size: as given to `high_frequency`.
        strength: 1 takes away the expected power of the noise, 0 nothing.
    """
    noise = strength * level.square() * noise_gain(gaussian(sigma, size))
    power = smooth(score.square(), WINDOW)
    kept = (power - noise[:, None, None, None]).clamp_(min=0)
    return score * torch.where(power > 0, kept / power, 0.0).sqrt_()
