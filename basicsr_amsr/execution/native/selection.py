"""Selection of tiles by the native library, and its tiles as the lists of patches that programs run on."""
from __future__ import annotations

import ctypes
import math
import threading
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.native.tables import PATCH, CDetail
from basicsr_amsr.selection.high_frequency import LUMINANCE, gaussian
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.noise import DETAIL_GAIN, NORMAL_QUARTILE

KEPT = 1 << 26  # bytes of scratch memory that are kept between images: those of 4 megapixels
MOST = (1 << 31) - 1  # pixels of an image that fit the positions


def tiles(selection: Any, images: torch.Tensor) -> torch.Tensor:
    """`selection.tiles(images)`, computed natively where that is possible.

    The masks are the same but for tiles whose mean lies within rounding of what decides.

    Args:
        selection: a `HighFrequencyMask`, or another selection, which chooses as it does.
        images: (B, 3 or 1, H, W) in 0–1.

    Returns:
        Active tiles, bool (B, ⌈H/tile⌉, ⌈W/tile⌉).
    """
    if not covers(selection, images):
        found: torch.Tensor = selection.tiles(images)
        return found
    if selection.by_two_means:
        return selection.clustered(_detail(selection, images, whole=True))
    return selection.taken(_detail(selection, images))


def tile_means(selection: Any, images: torch.Tensor) -> torch.Tensor:
    """`selection.tile_means(images)`, float32 (B, ⌈H/tile⌉, ⌈W/tile⌉), computed natively where that is possible."""
    if covers(selection, images):
        return _detail(selection, images)
    found: torch.Tensor = selection.tile_means(images)
    return found


def covers(selection: Any, images: torch.Tensor) -> bool:
    """Whether the library makes this map: a `HighFrequencyMask` of power 1 or 2, of float32 images in the CPU's memory
    (no tensors of shapes alone), and nobody traces."""
    return (type(selection) is HighFrequencyMask and selection.power in (1, 2) and type(images) is torch.Tensor
            and images.device.type == 'cpu' and images.dtype == torch.float32 and images.ndim == 4
            and images.shape[1] in (1, 3) and images.numel() > 0 and images[0, 0].numel() <= MOST
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing() and library() is not None)


class _Memory(threading.local):
    """A thread's scratch memory: used again, it need not be paged in."""

    space = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray:
        space = self.space
        if len(space) < size:
            space = np.empty(size + 64, np.uint8)
            self.space = space if size <= KEPT else space[:0].copy()
        return space[-space.ctypes.data % 64:]


_memory = _Memory()


@cache
def _kernel(sigma: float, size: int) -> tuple[np.ndarray, float]:
    """The blur's weights from its middle outwards, and the root of the noise's gain."""
    kernel = gaussian(sigma, size)
    high_pass = -torch.outer(kernel, kernel)
    high_pass[size // 2, size // 2] += 1
    return kernel[size // 2:].float().numpy(), math.sqrt(high_pass.square().sum().item())


def _detail(selection: HighFrequencyMask, images: torch.Tensor, whole: bool = False) -> torch.Tensor:
    """The means of the tiles, or the smoothed map (B, 1, H, W)."""
    loaded = library()
    assert loaded is not None
    images = images.detach()
    if images.stride(3) != 1 or min(images.stride()) < 0:
        images = images.contiguous()
    batch, channels, height, width = images.shape
    kernel, gain = _kernel(float(selection.sigma), selection.size)
    means = images.new_empty(batch, -(-height // selection.tile), -(-width // selection.tile))
    score = images.new_empty(batch, 1, height, width) if whole else None
    c = CDetail(row=images.stride(2), plane=images.stride(1), channels=channels, height=height, width=width,
                half=len(kernel) - 1, smooth=selection.smooth // 2, squared=selection.power == 2, tile=selection.tile,
                threads=min(torch.get_num_threads(), 255), weights=(ctypes.c_float * 3)(*LUMINANCE),
                noise=math.sqrt(selection.noise_discount) * gain / (NORMAL_QUARTILE * DETAIL_GAIN),
                kernel=kernel.ctypes.data)
    space = _memory.take(loaded.c.amsr_detail_scratch(ctypes.byref(c)))
    c.scratch, c.scratch_bytes = space.ctypes.data, len(space)
    for number in range(batch):
        c.image, c.means = images[number].data_ptr(), means[number].data_ptr()
        c.map = None if score is None else score[number].data_ptr()
        if loaded.c.amsr_detail(ctypes.byref(c)):
            raise RuntimeError('the native library refused a selection: its scratch memory does not fit')
    return means if score is None else score


class Lists(NamedTuple):
    """Patches of 4×4 pixels of an image as (N, 2), int16: rows and columns in patches, sorted by rows.

    Attributes:
        active: those of the active tiles.
        skipped: all others.
        band: those of the skipped ones with a pixel that is at most `reach` pixels from an active patch: what must be
            filled before convolutions of the active ones read it.
    """

    active: np.ndarray
    skipped: np.ndarray
    band: np.ndarray


def patch_lists(active: np.ndarray, reach: int) -> Lists:
    """The lists of one image.

    Args:
        active: bool (⌈H/4⌉, ⌈W/4⌉), see `patches_of`.
        reach: pixels of the image, rows and columns alike.
    """
    near, steps = active, -(-reach // PATCH)
    for axis in (0, 1):
        lines, grown = np.moveaxis(near, axis, 0), near.copy()
        target = np.moveaxis(grown, axis, 0)
        for step in range(1, min(steps, len(lines) - 1) + 1):
            target[step:] |= lines[:-step]
            target[:-step] |= lines[step:]
        near = grown
    places = _places(*active.shape)
    return Lists(*(places[chosen.ravel().nonzero()[0]].view(np.int16).reshape(-1, 2)
                   for chosen in (active, ~active, near & ~active)))


def patches_of(tiles: torch.Tensor, size: int, height: int, width: int) -> np.ndarray:
    """Active tiles as active patches of 4×4 pixels.

    Args:
        tiles: bool (B, ⌈H/size⌉, ⌈W/size⌉), on the CPU.
        size: side of a tile, a multiple of 4.
        height, width: of the images.

    Returns:
        bool (B, ⌈H/4⌉, ⌈W/4⌉).

    Raises:
        ValueError: the tiles are not whole patches of such images.
    """
    if size % PATCH or tiles.dtype != torch.bool or tiles.shape[1:] != (-(-height // size), -(-width // size)):
        raise ValueError(f'tiles {tiles.dtype} {tuple(tiles.shape)} of side {size} in images of {height}x{width}')
    active = tiles.numpy()
    if size > PATCH:
        active = active.repeat(size // PATCH, 1).repeat(size // PATCH, 2)
    return active[:, :-(-height // PATCH), :-(-width // PATCH)]


@cache
def _places(rows: int, columns: int) -> np.ndarray:
    """Of each patch its row and column as int16, both in one int32."""
    both = np.ascontiguousarray(np.indices((rows, columns), np.int16).reshape(2, -1).T)
    return both.view(np.int32)[:, 0]
