"""Lists of 4x4 patches for the native kernels, with what they have to know of each other."""
from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from basicsr_amsr.execution.native.library import Library, address
from basicsr_amsr.execution.native.tables import PATCH


class Lists(NamedTuple):
    """Patches of an image as (N, 2), int16: rows and columns in patches, sorted by rows.

    Attributes:
        active: those of the active patches.
        skipped: all others.
        band: those of the skipped ones that touch active ones: what must be filled before convolutions read it.
        near: for the band, which neighbours are active, (N,), uint8, see `Runner.run`.
        share: pixels of skipped patches over all.
    """

    active: np.ndarray
    skipped: np.ndarray
    band: np.ndarray
    near: np.ndarray
    share: float


def lists_of(library: Library, active: np.ndarray, height: int, width: int) -> Lists:
    """The lists of one image.

    Args:
        active: bool (⌈H/4⌉, ⌈W/4⌉), see `patches_of`.
        height, width: of the image.
    """
    rows, columns = active.shape
    if not active.flags.c_contiguous:
        active = active.copy()
    number = rows * columns
    both, near, counts = np.empty((2 * number, 2), np.int16), np.empty(number, np.uint8), (ctypes.c_int64 * 2)()
    first = address(both)
    library.c.amsr_lists(address(active), rows, columns, first, first + both.nbytes // 2, address(near),
                         ctypes.addressof(counts))
    computed, touching = counts
    patches, band = both[:number], both[number:]
    share = 1 - _pixels(active, computed, height, width) / (height * width)
    return Lists(patches[:computed], patches[computed:], band[:touching], near[:touching], share)


def _pixels(active: np.ndarray, number: int, height: int, width: int) -> int:
    """How many pixels of the image lie in `number` active patches; those at the border may hang over."""
    rows, columns = active.shape
    below, right = PATCH * rows - height, PATCH * columns - width
    pixels = number * PATCH ** 2
    if below:
        pixels -= PATCH * below * int(np.count_nonzero(active[-1]))
    if right:
        pixels -= PATCH * right * int(np.count_nonzero(active[:, -1]))
    return pixels + below * right * int(active[-1, -1])
