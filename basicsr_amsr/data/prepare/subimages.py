"""Where sub-images are cut: the grid and the names of BasicSR's `extract_subimages.py`."""
from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """A window of the HR image in pixels."""

    top: int
    left: int
    height: int
    width: int

    def at(self, scale: int) -> tuple[slice, slice]:
        """Rows and columns of the same window in the LR image."""
        return (slice(self.top // scale, (self.top + self.height) // scale),
                slice(self.left // scale, (self.left + self.width) // scale))


def starts(length: int, crop: int, step: int, threshold: int = 0) -> list[int]:
    """First pixels of the crops along a line of `length` pixels.

    A crop at each `step`, and one more that ends at the border where more than `threshold` pixels remain. A line
    shorter than `crop` has one crop, of its own length (BasicSR's script loses such an image without a word).
    """
    if length <= crop:
        return [0]
    found = list(range(0, length - crop + 1, step))
    if length - (found[-1] + crop) > threshold:
        found.append(length - crop)
    return found


def windows(height: int, width: int, crop: int | None, step: int = 1, threshold: int = 0) -> list[Window]:
    """Windows of an image, row by row; the whole image where `crop` is None."""
    if crop is None:
        return [Window(0, 0, height, width)]
    return [Window(top, left, min(crop, height), min(crop, width))
            for top in starts(height, crop, step, threshold) for left in starts(width, crop, step, threshold)]


def names(stem: str, count: int) -> list[str]:
    """`stem_s001` and on for `count` sub-images; the stem itself for the whole image, where `count` is 0."""
    return [f'{stem}_s{index:03d}' for index in range(1, count + 1)] or [stem]
