"""Bicubic resizing as MATLAB's `imresize` does it: the way nearly all published low-resolution images were made.

Three things set it apart from OpenCV, Pillow and BasicSR's `imresize`. The kernel is Keys' cubic with a = -0.5 [1],
widened by the factor when shrinking (antialiasing). Beyond its edges the image is mirrored, the edge pixel repeated.
And integer images are rounded and saturated to their own type after *each* of the two 1-D passes.

[1] R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981, eq. (15).
"""
from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

# Up to this sum of |weight| × largest pixel, float32 holds every sum exactly and a tie is told from its neighbours.
FLOAT32_EXACT = 2**21
DTYPES = (np.uint8, np.uint16, np.float32, np.float64)


def imresize(img: np.ndarray, scale: float | tuple[int, int], antialias: bool = True) -> np.ndarray:
    """Resize an image bicubically, as MATLAB's `imresize(img, scale)` and `imresize(img, [height width])`.

    Args:
        img: (H, W) or (H, W, C), uint8, uint16, float32 or float64, any value range.
        scale: the factor; the output then has ceil(H·scale) × ceil(W·scale) pixels. Or the output's (height, width).
        antialias: widen the kernel when shrinking, MATLAB's default. Without effect when enlarging.

    Returns:
        The resized image, contiguous, in the type of `img`. Integer types are rounded half away from zero and
        saturated after each pass; floats are neither rounded nor clipped.

    Raises:
        TypeError: for another type of pixel.
        ValueError: for an empty image, another number of dimensions, or a scale or size that is not positive.
    """
    _check(img)
    height, width = img.shape[:2]
    if isinstance(scale, tuple):
        sizes = (int(scale[0]), int(scale[1]))
        scales = (sizes[0] / height, sizes[1] / width)
    else:
        scales = (float(scale), float(scale))
        sizes = (math.ceil(height * scales[0]), math.ceil(width * scales[1])) if 0 < scale < math.inf else (0, 0)
    if min(sizes) < 1:
        raise ValueError(f'cannot resize to {scale}: scale and size must be positive')
    # MATLAB begins with the dimension that shrinks most; the sort is stable, so rows come first when both are equal.
    for axis in sorted((0, 1), key=lambda a: scales[a]):
        factor = round(1 / scales[axis])
        if antialias and factor >= 1 and 1 / factor == scales[axis]:
            img = _apply(img, axis, *_factor_taps(np.arange(sizes[axis]), factor, img.shape[axis]))
        else:
            img = _apply(img, axis, *_position_taps(sizes[axis], scales[axis], img.shape[axis], antialias))
    return np.ascontiguousarray(img)


def downscale(img: np.ndarray, scale: int) -> np.ndarray:
    """The standard LR image: crop to a multiple of `scale` at bottom and right, then `imresize(img, 1 / scale)`.

    Args:
        img: (H, W) or (H, W, C), uint8, uint16, float32 or float64.
        scale: integer factor, 1 or more.

    Returns:
        (H // scale, W // scale[, C]) in the type of `img`.

    Raises:
        TypeError, ValueError: as `imresize`; also for a scale below 1 or an image smaller than `scale`.
    """
    _check(img)
    return downscale_window(img, 0, 0, img.shape[0] // max(scale, 1), img.shape[1] // max(scale, 1), scale)


def downscale_window(img: np.ndarray, top: int, left: int, height: int, width: int, scale: int) -> np.ndarray:
    """A window of the LR image, bit by bit `downscale(img, scale)[top:top + height, left:left + width]`.

    It reads only the HR pixels that this window depends on (a margin of at most 2·scale on each side), so a training
    crop costs as much as the crop is large. All output pixels share one set of weights, which makes whole image and
    window agree by construction; mirroring happens at the image's border, never at the window's.

    Args:
        img: the whole HR image, (H, W) or (H, W, C), uint8, uint16, float32 or float64.
        top, left, height, width: the window in LR pixels, inside (H // scale, W // scale).
        scale: integer factor, 1 or more.

    Raises:
        TypeError, ValueError: as `downscale`; also for a window that is empty or leaves the LR image.
    """
    _check(img)
    if scale < 1 or int(scale) != scale:
        raise ValueError(f'scale {scale} is not a whole number of 1 or more')
    rows, cols = img.shape[0] // scale, img.shape[1] // scale
    if min(rows, cols) < 1:
        raise ValueError(f'an image of {img.shape[0]}x{img.shape[1]} is too small for scale {scale}')
    if min(top, left) < 0 or min(height, width) < 1 or top + height > rows or left + width > cols:
        raise ValueError(f'window {height}x{width} at ({top}, {left}) leaves the LR image of {rows}x{cols}')
    taps = [_factor_taps(np.arange(top, top + height), int(scale), rows * int(scale)),
            _factor_taps(np.arange(left, left + width), int(scale), cols * int(scale))]
    (y0, y1), (x0, x1) = ((int(indices.min()), int(indices.max()) + 1) for indices, *_ in taps)
    img = img[y0:y1, x0:x1]
    for axis, (indices, weights, divisor) in enumerate(taps):
        img = _apply(img, axis, indices - indices.min(), weights, divisor)
    return np.ascontiguousarray(img)


def _check(img: np.ndarray) -> None:
    if img.dtype not in DTYPES:
        raise TypeError(f'cannot resize {img.dtype}: uint8, uint16, float32 and float64 are possible')
    if img.ndim not in (2, 3) or 0 in img.shape:
        raise ValueError(f'cannot resize an array of shape {img.shape}: (H, W) or (H, W, C) is needed, not empty')


def _cubic(x):
    """Keys' kernel with a = -0.5 at |x| <= 2, of a Fraction (exactly) or an array."""
    near = 3 * x**3 / 2 - 5 * x**2 / 2 + 1
    far = -(x**3) / 2 + 5 * x**2 / 2 - 4 * x + 2
    return np.where(x <= 1, near, far) if isinstance(x, np.ndarray) else (near if x <= 1 else far)


@lru_cache(maxsize=64)
def _factor_kernel(factor: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights for shrinking by a whole factor: offsets from the output pixel's first input pixel, and the exact
    weights as integers over a common divisor. With integer pixels every sum is then exact, whatever its order."""
    distance = {t: abs(Fraction(2 * t - (factor - 1), 2 * factor)) for t in range(-2 * factor, 3 * factor)}
    kernel = {t: _cubic(d) for t, d in distance.items() if d < 2 and _cubic(d) != 0}
    total = sum(kernel.values())
    exact = [weight / total for weight in kernel.values()]
    divisor = math.lcm(*(weight.denominator for weight in exact))
    return np.array(list(kernel)), np.array([int(weight * divisor) for weight in exact]), divisor


def _factor_taps(positions: np.ndarray, factor: int, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Indices and weights, both (positions, taps), and divisor for shrinking a line of `size` pixels by `factor`."""
    offsets, weights, divisor = _factor_kernel(factor)
    indices = _mirror(positions[:, None] * factor + offsets, size)
    return indices, np.broadcast_to(weights, indices.shape), divisor


def _position_taps(length: int, scale: float, size: int, antialias: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Positions and weights as of `_factor_taps`, for any scale: each of `length` output pixels has its own."""
    stretch = min(scale, 1.0) if antialias else 1.0
    centre = (np.arange(length) + 0.5) / scale - 0.5
    first = np.floor(centre - 2 / stretch)
    indices = first[:, None] + np.arange(math.ceil(4 / stretch) + 2)
    weights = _cubic(np.minimum(np.abs(centre[:, None] - indices) * stretch, 2.0))
    return _mirror(indices.astype(np.int64), size), weights / weights.sum(1, keepdims=True), 1


def _mirror(indices: np.ndarray, size: int) -> np.ndarray:
    """Fold indices into 0 … size - 1 by reflection about the outer edge of the border pixels (… 1 0 | 0 1 2 …)."""
    folded = indices % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def _apply(img: np.ndarray, axis: int, indices: np.ndarray, weights: np.ndarray, divisor: int) -> np.ndarray:
    """One 1-D pass along `axis`: a sparse matrix of the weights times the image."""
    lines = img if axis == 0 else img.swapaxes(0, 1)
    exact = weights.dtype.kind == 'i' and img.dtype == np.uint8 and 255 * np.abs(weights[0]).sum() <= FLOAT32_EXACT
    dtype = np.float32 if exact else np.float64
    length, taps = indices.shape
    from scipy.sparse import csr_matrix  # takes a quarter of a second to import

    matrix = csr_matrix((weights.astype(dtype).ravel(), indices.ravel(), np.arange(0, length * taps + 1, taps)),
                        shape=(length, lines.shape[0]))
    sums = matrix @ lines.reshape(lines.shape[0], -1).astype(dtype)
    sums /= divisor
    if img.dtype.kind == 'u':
        # Half away from zero, as MATLAB; what is negative becomes 0 in any case.
        sums += 0.5
        np.floor(sums, out=sums)
        np.clip(sums, 0, np.iinfo(img.dtype).max, out=sums)
    result = sums.astype(img.dtype).reshape(length, *lines.shape[1:])
    return result if axis == 0 else result.swapaxes(0, 1)
