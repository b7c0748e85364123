"""Blur kernels: the disk of a defocused lens, and kernels from files. (Gaussian ones are BasicSR's.)"""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from basicsr_amsr.data.image_io import EXTENSIONS, read_image
from basicsr_amsr.errors import UserError
from basicsr_amsr.resources import resolve

KERNEL_EXTENSIONS = ('.npy', '.mat', '.txt', '.csv', *EXTENSIONS)
STRIPS = 512  # per pixel and axis; the disk's values are then exact to about 1e-5 of the largest


def disk_kernel(radius: float) -> np.ndarray:
    """A uniform disk: each pixel's share is its area inside the circle, as in MATLAB's `fspecial('disk', radius)`.

    Args:
        radius: in pixels, 0 or more (0: no blur).

    Returns:
        (k, k) float64 with sum 1; k is the smallest odd size that holds the circle.
    """
    if radius <= 0:
        return np.ones((1, 1))
    reach = max(int(np.ceil(radius - 0.5)), 0)
    centres = np.arange(-reach, reach + 1)
    # thin vertical strips, on which the circle's height is exact: their overlap with each pixel's rows
    strips = (np.arange(STRIPS) + 0.5) / STRIPS - 0.5 + centres[:, None]
    half = np.sqrt(np.clip(radius**2 - strips**2, 0, None))[None]
    low, high = (centres + side for side in (-0.5, 0.5))
    overlap = np.minimum(high[:, None, None], half) - np.maximum(low[:, None, None], -half)
    kernel = np.clip(overlap, 0, None).mean(-1)
    kernel = (kernel + kernel.T) / 2  # a circle's symmetry, which the strips keep only nearly
    return kernel / kernel.sum()


def read_kernels(path: str | Path) -> list[np.ndarray]:
    """The kernels of a file, or of all such files of a folder, sorted.

    .npy: one kernel (k, k) or several (n, k, k). .mat (up to version 7): every numeric variable likewise, and cells of
    them. .txt, .csv: one kernel, rows as lines. Images: one kernel, read as gray.

    Returns:
        Kernels (k, k) float64, k odd, each scaled to the sum 1.

    Raises:
        UserError: the file is absent, cannot be read or holds something else; one line names it.
    """
    path = resolve(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in KERNEL_EXTENSIONS)
        if not files:
            raise UserError(f"Folder '{path}' holds no kernel; known are {', '.join(KERNEL_EXTENSIONS)}.")
        return [kernel for file in files for kernel in read_kernels(file)]
    if not path.is_file():
        raise UserError(f"Kernel file '{path}' is not there.")
    kernels = [_checked(kernel, path) for array in _arrays(path) for kernel in _split(array)]
    if not kernels:
        raise UserError(f"Kernel file '{path}' holds no array of two or three dimensions.")
    return kernels


def _arrays(path: Path) -> list[np.ndarray]:
    kind = path.suffix.lower()
    if kind in EXTENSIONS:
        return [read_image(path, gray=True)[..., 0]]
    try:
        if kind == '.npy':
            return [np.load(path, allow_pickle=False)]
        if kind == '.mat':
            from scipy.io import loadmat  # half a second, and few kernels come so

            values = [value for key, value in sorted(loadmat(path).items()) if not key.startswith('__')]
            return [value for value in values if value.dtype == object or value.size > 1]  # numbers are 1×1 arrays
        if kind in ('.txt', '.csv'):
            return [np.loadtxt(path, delimiter=',' if kind == '.csv' else None, ndmin=2)]
    except (OSError, ValueError, NotImplementedError, TypeError) as error:
        raise UserError(f"Kernel file '{path}' cannot be read: {' '.join(str(error).split())}") from error
    raise UserError(f"Kernel file '{path}' is of an unknown kind; known are {', '.join(KERNEL_EXTENSIONS)}.")


def _split(array: Any) -> list[np.ndarray]:
    """The kernels of an array: itself, a stack, or MATLAB cells; anything else holds none."""
    if not isinstance(array, np.ndarray):
        return []
    if array.dtype == object:
        return [kernel for cell in array.flat for kernel in _split(cell)]
    if array.dtype.kind not in 'fiu' or array.ndim not in (2, 3) or array.size == 0:
        return []
    return [array] if array.ndim == 2 else list(array)


def _checked(kernel: np.ndarray, path: Path) -> np.ndarray:
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise UserError(f"Kernel file '{path}' holds an array of {kernel.shape[0]}x{kernel.shape[1]}; "
                        'a kernel has to be square with an odd side.')
    kernel = kernel.astype(np.float64)
    total = kernel.sum()
    if not np.isfinite(kernel).all() or total <= 0:
        raise UserError(f"Kernel file '{path}' holds a kernel that does not add up to a positive number.")
    return kernel / total
