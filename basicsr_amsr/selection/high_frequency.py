"""The high-frequency part of an image: what a Gaussian blur takes away (AMSR, arXiv 2505.06975)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from basicsr_amsr.errors import UserError

# ITU-R BT.601 with 16–235 for black to white, as the Y of BasicSR's metrics; its constant 16/255 has no high frequency.
LUMINANCE = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def luminance(image: torch.Tensor) -> torch.Tensor:
    """Luminance (B, 1, H, W) of RGB (B, 3, H, W), without its constant offset; one channel is returned as it is."""
    if image.ndim != 4 or image.shape[1] not in (1, 3):
        raise UserError(f'images of shape {tuple(image.shape)} have no luminance: give (B, 3, H, W) or (B, 1, H, W).')
    if image.shape[1] == 1:
        return image
    return sum(weight * image[:, i:i + 1] for i, weight in enumerate(LUMINANCE))  # type: ignore[return-value]


def gaussian(sigma: float, size: int) -> np.ndarray:
    """Samples of a Gaussian at `size` (odd) pixels with sum 1, float64; as OpenCV's getGaussianKernel."""
    x = np.arange(size, dtype=np.float64) - size // 2
    weights: np.ndarray = np.exp(-x**2 / (2 * sigma**2))
    return weights / weights.sum()


def blur(image: torch.Tensor, kernel: np.ndarray) -> torch.Tensor:
    """Correlate (B, C, H, W) with `kernel` (odd length) along both axes; the border pixels are repeated outwards."""
    half = len(kernel) // 2
    padded = F.pad(image, (half, half, half, half), mode='replicate')
    return weighted_sum(weighted_sum(padded, kernel.tolist(), 2), kernel.tolist(), 3)


def weighted_sum(values: torch.Tensor, weights: Sequence[float], dim: int) -> torch.Tensor:
    """Correlation along one axis without padding. By shifted maps: on one channel much faster than conv2d."""
    length = values.shape[dim] - len(weights) + 1
    total = values.narrow(dim, 0, length) * weights[0]
    for start, weight in enumerate(weights[1:], 1):
        total.add_(values.narrow(dim, start, length), alpha=weight)
    return total


def high_frequency(image: torch.Tensor, sigma: float = 1.0, size: int = 5) -> torch.Tensor:
    """|Y − Gaussian(Y)| of the luminance Y.

    Args:
        image: (B, 3, H, W) or (B, 1, H, W), RGB, any H and W from 1; half types are computed in float32.
        sigma: standard deviation of the Gaussian in pixels.
        size: pixels of its kernel along each axis, odd.

    Returns:
        (B, 1, H, W), float32 or wider, in the unit of the image.
    """
    y = luminance(image)
    y = y.float() if y.dtype in (torch.float16, torch.bfloat16) else y
    return (y - blur(y, gaussian(sigma, size))).abs_()
