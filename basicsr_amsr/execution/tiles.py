"""Large images tile by tile, so that memory depends on the size of a tile and not on that of the image."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch


class Tile(NamedTuple):
    """A tile of an image, in LR pixels.

    Attributes:
        rows, cols: what is read, with the overlap. kept_rows, kept_cols: what is kept of the result.
    """

    rows: slice
    cols: slice
    kept_rows: slice
    kept_cols: slice

    def of(self, image: torch.Tensor) -> torch.Tensor:
        """The pixels that it reads of (B, C, H, W)."""
        return image[..., self.rows, self.cols]

    def put(self, result: torch.Tensor, image: torch.Tensor, scale: int) -> None:
        """Write what is kept of its result (B, C, scale · rows, scale · cols) into the image."""
        rows = slice(self.kept_rows.start - self.rows.start, self.kept_rows.stop - self.rows.start)
        cols = slice(self.kept_cols.start - self.cols.start, self.kept_cols.stop - self.cols.start)
        image[..., _times(self.kept_rows, scale), _times(self.kept_cols, scale)] = result[
            ..., _times(rows, scale), _times(cols, scale)]

    @property
    def area(self) -> int:
        """LR pixels that are kept."""
        return (self.kept_rows.stop - self.kept_rows.start) * (self.kept_cols.stop - self.kept_cols.start)


def is_large(x: torch.Tensor, size: int | None) -> bool:
    """Whether (B, C, H, W) is cut into tiles of that size; None for never."""
    return size is not None and max(x.shape[-2:]) > size


def cut(height: int, width: int, size: int, tile_pad: int, step: int = 1) -> Iterator[Tile]:
    """Tiles that together keep each pixel of height × width once.

    Args:
        height, width: of the image.
        size: side of what a tile keeps at most, unless it is less than `step`.
        overlap: pixels around it that it reads too, inside the image.
        step: tiles and what they read begin at multiples of this.
    """
    for rows, kept_rows in _along(height, size, tile_pad, step):
        for cols, kept_cols in _along(width, size, tile_pad, step):
            yield Tile(rows, cols, kept_rows, kept_cols)


def in_tiles(compute: Callable[[Tile], torch.Tensor], x: torch.Tensor, size: int, tile_pad: int,
              step: int = 1) -> torch.Tensor:
    """A map of the size of x (B, C, H, W), or of a multiple, put together from tiles.

    Args:
        compute: gives (B, C', s · rows, s · cols) of what a tile reads.
        x, size, overlap, step: as in `cut`.
    """
    whole, scale = None, 1
    height, width = x.shape[-2:]
    for tile in cut(height, width, size, tile_pad, step):
        result = compute(tile)
        if whole is None:
            scale = result.shape[-2] // (tile.rows.stop - tile.rows.start)
            whole = torch.empty(*result.shape[:2], height * scale, width * scale, dtype=result.dtype,
                                device=result.device, memory_format=torch.channels_last)
        tile.put(result, whole, scale)
    assert whole is not None
    return whole


def _along(length: int, size: int, tile_pad: int, step: int) -> Iterator[tuple[slice, slice]]:
    """The pixels along one side that each tile reads, and those of its result that are kept; tiles are as equal as
    `step` allows."""
    count = -(-length // size)
    side = -(-length // (count * step)) * step
    more = -(-tile_pad // step) * step
    for start in range(0, length, side):
        stop = min(start + side, length)
        yield slice(max(start - more, 0), min(stop + more, length)), slice(start, stop)


def _times(part: slice, scale: int) -> slice:
    return slice(part.start * scale, part.stop * scale)
