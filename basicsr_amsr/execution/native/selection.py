"""Selection of patches by the native library, and what is selected in patches of 4×4, on which programs run."""
from __future__ import annotations

import ctypes
import math
import threading
from functools import cache
from typing import Any

import numpy as np
import torch

from basicsr_amsr.execution.native.library import address, library
from basicsr_amsr.execution.native.tables import PATCH, CDetail
from basicsr_amsr.selection.high_frequency import LUMINANCE, gaussian
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.noise_level import DETAIL_GAIN, NORMAL_QUARTILE, noise_gain

FLOAT = 4  # bytes
KEPT = 1 << 26  # bytes of scratch memory that are kept between images: those of 4 megapixels
MOST = (1 << 31) - 1  # pixels of an image that fit the positions


def patches(selection: Any, images: torch.Tensor) -> torch.Tensor:
    """`selection.patches(images)`, computed natively where that is possible.

    The masks are the same but for patches whose mean lies within rounding of what decides.

    Args:
        selection: a `HighFrequencyMask`, or another selection, which chooses as it does.
        images: (B, 3 or 1, H, W) in 0–1.

    Returns:
        Active patches, bool (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉).
    """
    if not covers(selection, images):
        found: torch.Tensor = selection.patches(images)
        return found
    if selection.by_two_means:
        return selection.clustered(_detail(selection, images, whole=True))
    means = _detail(selection, images)
    if selection.keep is not None:
        return selection.taken(means)
    taken = np.empty(means.shape, bool)
    for each, over in zip(means.numpy(), taken, strict=True):
        np.greater(each, selection.threshold_of(each), out=over)
    return torch.from_numpy(taken)


def patch_means(selection: Any, images: torch.Tensor) -> torch.Tensor:
    """`selection.patch_means(images)`, float32 (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉), computed natively where that is
    possible."""
    if covers(selection, images):
        return _detail(selection, images)
    found: torch.Tensor = selection.patch_means(images)
    return found


def covers(selection: Any, images: torch.Tensor) -> bool:
    """Whether the library makes this map: a `HighFrequencyMask` of power 1 or 2, of float32 images in the CPU's memory
    (no tensors of shapes alone), and nobody traces."""
    if (type(selection) is not HighFrequencyMask or selection.power not in (1, 2) or type(images) is not torch.Tensor
            or images.device.type != 'cpu' or images.dtype != torch.float32 or images.ndim != 4):
        return False
    _, channels, height, width = images.shape
    return (channels in (1, 3) and images.numel() > 0 and height * width <= MOST
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing() and library() is not None)


_LUMINANCE = (ctypes.c_float * 3)(*LUMINANCE)


class _Memory(threading.local):
    """A thread's scratch memory: used again, it need not be paged in."""

    space = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray:
        space = self.space
        if len(space) < size:
            space = np.empty(size + 64, np.uint8)
            self.space = space if size <= KEPT else space[:0].copy()
        return space[-address(space) % 64:]


_memory = _Memory()


@cache
def _kernel(sigma: float, size: int) -> tuple[np.ndarray, float]:
    """The blur's weights from its middle outwards, and the root of the noise's gain."""
    kernel = gaussian(sigma, size)
    return kernel[size // 2:].astype(np.float32), math.sqrt(noise_gain(kernel))


def _detail(selection: HighFrequencyMask, images: torch.Tensor, whole: bool = False) -> torch.Tensor:
    """The means of the patches, or the smoothed map (B, 1, H, W)."""
    loaded = library()
    assert loaded is not None
    images = images.detach()
    batch, channels, height, width = images.shape
    apart, plane, row, pixel = images.stride()
    kernel, gain = _kernel(float(selection.sigma), selection.size)
    means = images.new_empty(batch, -(-height // selection.patch_size), -(-width // selection.patch_size))
    score = images.new_empty(batch, 1, height, width) if whole else None
    c = CDetail(row=row, plane=plane, pixel=pixel, channels=channels, height=height, width=width,
                half=len(kernel) - 1, smooth=selection.smooth // 2, squared=selection.power == 2,
                patch_size=selection.patch_size,
                threads=min(torch.get_num_threads(), 255), weights=_LUMINANCE,
                noise=math.sqrt(selection.noise_discount) * gain / (NORMAL_QUARTILE * DETAIL_GAIN),
                kernel=address(kernel))
    space = _memory.take(loaded.c.amsr_detail_scratch(ctypes.byref(c)))
    c.scratch, c.scratch_bytes = address(space), len(space)
    first, first_mean = images.data_ptr(), means.data_ptr()
    for number in range(batch):
        c.image, c.means = first + number * apart * FLOAT, first_mean + number * means.stride(0) * FLOAT
        c.map = None if score is None else score.data_ptr() + number * height * width * FLOAT
        if loaded.c.amsr_detail(ctypes.byref(c)):
            raise RuntimeError('the native library refused a selection: its scratch memory does not fit')
    return means if score is None else score


def patches_of(patches: torch.Tensor, size: int, height: int, width: int) -> np.ndarray:
    """Active patches as active squares of 4×4 pixels, the patches of the native library.

    Args:
        patches: bool (B, ⌈H/size⌉, ⌈W/size⌉), on the CPU.
        size: side of a patch, a multiple of 4.
        height, width: of the images.

    Returns:
        bool (B, ⌈H/4⌉, ⌈W/4⌉).

    Raises:
        ValueError: `size` is no multiple of 4, or the patches are not those of such images.
    """
    if size % PATCH or patches.dtype != torch.bool or patches.shape[1:] != (-(-height // size), -(-width // size)):
        raise ValueError(f'patches {patches.dtype} {tuple(patches.shape)} of side {size} in images of {height}x{width}')
    active = patches.numpy()
    if size > PATCH:
        active = active.repeat(size // PATCH, 1).repeat(size // PATCH, 2)
    return active[:, :-(-height // PATCH), :-(-width // PATCH)]
