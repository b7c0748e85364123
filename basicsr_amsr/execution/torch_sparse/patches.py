"""Patches of one side that are computed together: where their pixels are in the map of every scale."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from basicsr_amsr.execution.gather import Gather
from basicsr_amsr.host import constant, on_device

CHUNK_CPU, CHUNK_GPU = 3 << 19, 1 << 25  # numbers computed at a time: a cache holds them; a GPU wants to be filled
LARGE = (16, 8, 4)  # sides of the squares that smaller patches are put together to
LEAST = 8192  # pixels of such squares that are worth a pass of their own
MORE = 1024  # pixels of patches that are added at most


class Patches:
    """Square patches of a batch of maps.

    Args:
        patches: bool (B, ⌈height/size⌉, ⌈width/size⌉) on the host, which; those of larger squares may be fewer.
        size: their side in pixels of the anchor.
        height, width: of the anchor's map.
        device: of the maps.
        first: how many pixels are stored before theirs.
        whole: compute all of them at once. exact: compute no others.

    Attributes:
        active: number of patches. count: of those that are computed, a few more if not `exact`.
        image, row, col: (count,), of which image and where in the grid each is.
    """

    def __init__(self, patches: np.ndarray, size: int, height: int, width: int, device: torch.device, first: int = 0,
                 whole: bool = False, exact: bool = False) -> None:
        self.batch, self.size, self.height, self.width = len(patches), size, height, width
        self.first, self.whole, self.device = first, whole, device
        places = np.argwhere(patches)
        self.active = len(places)
        if self.active and not (whole or exact):  # the last patch again, which is computed and left
            places = np.concatenate([places, places[-1:].repeat(self._more(self.active), 0)])
        self.places_on_host = places
        self.grid = on_device(places, device)  # image, row and column of each
        self.image, self.row, self.col = self.grid.unbind(1)
        self.count = len(places)
        self._first: dict[tuple[int, int, int], torch.Tensor] = {}  # positions of their first pixels in maps
        self._places: dict[tuple[int, range, range], torch.Tensor] = {}

    def _more(self, count: int) -> int:
        """How many patches to add, so that the number of patches takes few different values: oneDNN and cuDNN prepare a
        convolution anew for each number of patches that they meet."""
        step = min(1 << max((count // 16).bit_length() - 1, 0), max(MORE // self.size**2, 1))
        return -count % step

    def chunk(self, numbers: int) -> int:
        """How many patches are computed at a time, each taking that many numbers in memory."""
        if self.whole:
            return max(self.count, 1)
        return max((CHUNK_CPU if self.device.type == 'cpu' else CHUNK_GPU) // numbers, 1)

    def area(self, scale: int) -> int:
        """Pixels of a patch."""
        return (self.size * scale)**2

    def rows(self, scale: int, part: slice | None = None) -> slice:
        """The rows of a stored value that belong to these patches, or to a part of them."""
        start, stop = (0, self.count) if part is None else (part.start, part.stop)
        area, first = self.area(scale), self.first * scale**2
        return slice(first + start * area, first + stop * area)

    def own(self, scale: int) -> torch.Tensor:
        """Flat positions (patches, pixels) of their own pixels in a map of that scale, −1 outside it."""
        side = range(self.size * scale)
        return self.places(scale, side, side)

    @property
    def fits(self) -> bool:
        """Whether no patch goes beyond the map."""
        return self.height % self.size == 0 and self.width % self.size == 0

    def write_whole(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the patches into a map of whole patches, (B, rows · size · scale, cols · size · scale, C)."""
        side, channels = self.size * scale, target.shape[3]
        patches = target.view(len(target), -1, side, target.shape[2] // side, side, channels).transpose(2, 3)
        patches[self.image[:self.active], self.row[:self.active], self.col[:self.active]] = rows.view(
            -1, side, side, channels)[:self.active]

    def write(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the patches where they belong in the flat map of that scale."""
        side, part = range(self.size * scale), slice(0, self.active)
        place = self.own(scale)[part].flatten()
        Gather(place, self.missing(scale, side, side, part)).write(rows[:len(place)], target)

    def sums(self, rows: torch.Tensor, scale: int, dtype: torch.dtype) -> torch.Tensor:
        """The sum of each active patch's rows (active, C), of pixels in the map alone."""
        patches = rows.view(self.count, self.area(scale), rows.shape[1])[:self.active]
        if not self.fits:
            patches = patches.masked_fill(self.own(scale)[:self.active, :, None] < 0, 0)
        return patches.sum(1, dtype=dtype)

    def within(self, scale: int, rows: range, cols: range, height: int, width: int, border: int = 0) -> torch.Tensor:
        """Positions (patches, pixels) of what lies at these offsets from each patch's upper left pixel, in a flat map
        of that height and width whose first pixel is `border` pixels up and left of the image's."""
        side = self.size * scale
        # These are the longest lists there are, so they take 32 bits and one sum.
        kind = torch.int32 if self.batch * height * width < 1 << 30 else torch.int64
        if (side, height, width) not in self._first:
            steps = constant((height * width, side * width, side), torch.int64, self.device)
            self._first[side, height, width] = (self.grid * steps).sum(1, keepdim=True, dtype=kind)
        around = tuple((down + border) * width + right + border for down in rows for right in cols)
        return self._first[side, height, width] + constant(around, kind, self.device)

    def places(self, scale: int, rows: range, cols: range) -> torch.Tensor:
        """Positions (patches, pixels) of what lies at these offsets from each patch's upper left pixel in a flat map of
        that scale, −1 outside it. Where some may lie outside, so do those of the added patches."""
        key = (scale, rows, cols)
        if key not in self._places:
            height, width, side = self.height * scale, self.width * scale, self.size * scale
            place = self.within(scale, rows, cols, height, width)
            if self.reaches_out(scale, rows, cols):
                down, right = (constant(tuple(each), torch.int64, self.device) for each in (rows, cols))
                first = self.grid[:, 1:] * side
                y, x = first[:, :1] + down, first[:, 1:] + right
                outside = (y != y.clamp(0, height - 1))[:, :, None] | (x != x.clamp(0, width - 1))[:, None, :]
                if self.active < self.count:
                    outside[self.active:] = True
                place.masked_fill_(outside.flatten(1), -1)
            self._places[key] = place
        return self._places[key]

    def missing(self, scale: int, rows: range, cols: range, part: slice) -> int:
        """How many of the `places` of a part of the patches are −1."""
        if not self.reaches_out(scale, rows, cols):
            return 0
        part = slice(*part.indices(self.count))
        real = slice(part.start, max(part.start, min(part.stop, self.active)))
        y, x = (first[:, None] * (self.size * scale) + np.asarray(offsets)
                for first, offsets in zip(self.places_on_host[real, 1:].T, (rows, cols), strict=True))
        inside = ((y >= 0) & (y < self.height * scale)).sum(1) @ ((x >= 0) & (x < self.width * scale)).sum(1)
        return (part.stop - part.start) * len(rows) * len(cols) - int(inside)

    def reaches_out(self, scale: int, rows: range, cols: range) -> bool:
        """Whether something at these offsets may lie outside a map of that scale."""
        return not self.fits or min(rows[0], cols[0]) < 0 or max(rows[-1], cols[-1]) >= self.size * scale


def put_together(patches: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Active patches joined to larger squares where all of a square are active and such squares are many; and the rest.

    A convolution reads the pixels around a patch too: around a larger one these are fewer for each that it computes.

    Args:
        patches: bool (B, rows, cols).
        size: their side.

    Yields:
        Squares of a side, bool (B, ⌊rows · size / side⌋, …), and the side; the last time the patches themselves.
    """
    for side in LARGE if patches.size * size**2 >= LEAST else ():
        times = side // size
        if side % size or times < 2 or min(patches.shape[1:]) < times:
            continue
        rows, cols = (length // times for length in patches.shape[1:])
        parts = patches[:, :rows * times, :cols * times].reshape(len(patches), rows, times, cols, times)
        squares = np.asarray(parts.all((2, 4)))
        if np.count_nonzero(squares) * side**2 < LEAST:
            continue
        yield squares, side
        patches = patches.copy()
        patches[:, :rows * times, :cols * times] &= ~squares.repeat(times, 1).repeat(times, 2)
    yield patches, size
