"""Peak signal-to-noise ratio in dB: as papers publish it, and of all values as they are."""
from __future__ import annotations

import math

import numpy as np
from basicsr.metrics import calculate_psnr


def published_psnr(image: np.ndarray, truth: np.ndarray, border: int, luma: bool = True) -> float:
    """PSNR by BasicSR, of pictures of 8 bits in BGR order, (H, W, C) or gray (H, W).

    Args:
        border: pixels at each side that are left out.
        luma: of colour pictures, on Y alone.
    """
    pictures = [picture[..., None] if picture.ndim == 2 else picture for picture in (image, truth)]
    return float(calculate_psnr(*pictures, crop_border=border, test_y_channel=luma and pictures[0].shape[2] == 3))


def plain_psnr(one: np.ndarray, other: np.ndarray, largest: float) -> float:
    """PSNR of two arrays of one shape, over all values; infinite where they are equal.

    Args:
        largest: value, 1 or 255.
    """
    error = float(np.square(np.subtract(one, other, dtype=np.float64)).mean())
    return math.inf if error == 0 else 10 * math.log10(largest**2 / error)
