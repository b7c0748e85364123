"""Counts the pixels around patches."""
from __future__ import annotations

import numpy as np


def pixels_near(patches: np.ndarray, size: int, height: int, width: int, reach: int) -> int:
    """How many pixels outside the patches are at most `reach` rows and columns from one of their pixels.

    Args:
        patches: bool (B, ⌈height/size⌉, ⌈width/size⌉).
        size: their side.
        height, width: of the map.
        reach: in pixels, 0 or more.
    """
    count, across = 0, _kinds(width, size, reach)
    for (up, down), high in _kinds(height, size, reach):
        rows = _spread(patches, up, down, 1)
        for (left, right), wide in across:
            near = _spread(rows, left, right, 2) & ~patches
            count += int((near @ wide @ high).sum())
    return count


def _kinds(length: int, size: int, reach: int) -> list[tuple[tuple[int, int], np.ndarray]]:
    """Pixels along one side of a patch by what they reach: how many patches before and behind, and how many pixels of
    each patch of the map do, int64 (⌈length/size⌉,)."""
    first = np.arange(0, length, size)
    found: dict[tuple[int, int], np.ndarray] = {}
    for place in range(min(size, length)):
        reached = (max(-(-(reach - place) // size), 0), (place + reach) // size)
        found[reached] = found.get(reached, 0) + (first + place < length).astype(np.int64)
    return list(found.items())


def _spread(patches: np.ndarray, before: int, behind: int, axis: int) -> np.ndarray:
    """Which patches have one of the given ones at most so many places before or behind them along an axis."""
    patches = np.moveaxis(patches, axis, -1)
    near = patches.copy()
    for step in range(1, min(before, near.shape[-1] - 1) + 1):
        near[..., step:] |= patches[..., :-step]
    for step in range(1, min(behind, near.shape[-1] - 1) + 1):
        near[..., :-step] |= patches[..., step:]
    return np.moveaxis(near, -1, axis)
