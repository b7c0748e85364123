"""Lists of 4x4 patches for the native kernels, with what they have to know of each other."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from basicsr_amsr.execution.native.selection import Lists, patch_lists
from basicsr_amsr.execution.native.tables import PATCH

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # in the order of AmsrList::near


class Marked(NamedTuple):
    """Of one image.

    Attributes:
        lists: the band holds the skipped patches that touch active ones.
        near: for the band, which neighbours are active, (N,), uint8, see `Runner.run`.
        share: pixels of skipped patches over all.
    """

    lists: Lists
    near: np.ndarray
    share: float


def marked(active: np.ndarray, height: int, width: int) -> Marked:
    """The lists of one image.

    Args:
        active: bool (⌈H/4⌉, ⌈W/4⌉), see `patches_of`.
        height, width: of the image.
    """
    rows, columns = active.shape
    framed = np.zeros((rows + 2, columns + 2), np.uint8)
    framed[1:-1, 1:-1] = active
    lists = patch_lists(active, PATCH)
    y, x = lists.band.T.astype(np.intp) + 1
    near = np.zeros(len(y), np.uint8)
    for bit, (dy, dx) in enumerate(NEIGHBOURS):
        near |= framed[y + dy, x + dx] << bit
    computed = _pixels(active, height, width)
    return Marked(lists, near, 1 - computed / (height * width))


def _pixels(active: np.ndarray, height: int, width: int) -> int:
    """Of active patches, as far as they lie in the image."""
    rows, columns = active.shape
    below, right = PATCH * rows - height, PATCH * columns - width
    outside = PATCH * (below * int(active[-1].sum()) + right * int(active[:, -1].sum()))
    return int(active.sum()) * PATCH ** 2 - outside + below * right * int(active[-1, -1])
