"""Where the rows of a value lie in memory: tile by tile, then the pixels around the tiles, then a row of zeros."""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from basicsr_amsr.execution.active import Gather, chunk_of

CHUNK_TILE_PIXELS = 8192


class Places(NamedTuple):
    """Positions in a flat map.

    Attributes:
        place: (tiles, pixels), 0 for what lies outside the map.
        outside: which of these, counted through, do, ascending; None for none.
        ends: how many of `outside` belong to the first 0, 1, … tiles.
    """

    place: torch.Tensor
    outside: torch.Tensor | None
    ends: list[int]


class Layout:
    """The active tiles of a batch at every scale of a network; made once for an image, shared by all its values.

    Args:
        tiles: bool (B, ⌈height/size⌉, ⌈width/size⌉), the active ones.
        size: their side in pixels of the anchor.
        height, width: of the anchor's map.
        halo: how many pixels around the tiles are known too (the band).
        whole: compute all of them at once.

    Attributes:
        active: number of active tiles. count: of those that are computed, a few more.
    """

    def __init__(self, tiles: torch.Tensor, size: int, height: int, width: int, halo: int,
                 whole: bool = False) -> None:
        self.tiles, self.size, self.height, self.width, self.halo = tiles, size, height, width, halo
        self.whole = whole
        places = tiles.nonzero()
        self.active = len(places)
        if self.active and not whole:  # the last tile again, which is computed and left
            places = torch.cat([places, places[-1:].expand(self._more(self.active), 3)])
        self.image, self.row, self.col = places.unbind(1)
        self.count = len(places)
        self._cache: dict[tuple, torch.Tensor] = {}
        self._places: dict[tuple[int, range, range], Places] = {}
        self._gathers: dict[tuple, Gather] = {}
        mask = self.mask(1)
        near = F.max_pool2d(mask.float(), 2 * halo + 1, 1, halo).bool() if halo else mask
        self.skipped = (~mask).flatten().nonzero()[:, 0]  # positions in the flat anchor map
        self.band = (near & ~mask).flatten().nonzero()[:, 0]

    def _more(self, count: int) -> int:
        """How many tiles are added, at most 1 to 16, so that few numbers of tiles occur: every number of patches is a
        convolution of its own to oneDNN and cuDNN, which prepare each when it first comes."""
        step = min(1 << max((count // 16).bit_length() - 1, 0), max(self.chunk(1) // 8, 1))
        return -count % step

    def mask(self, scale: int) -> torch.Tensor:
        """The pixels of the active tiles, bool (B, 1, scale · H, scale · W)."""
        side = self.size * scale
        wide = self.tiles.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
        return wide[:, None, :self.height * scale, :self.width * scale]

    def chunk(self, scale: int) -> int:
        """How many tiles are computed at a time at that scale."""
        if self.whole:
            return max(self.count, 1)
        return chunk_of(self.size * scale, CHUNK_TILE_PIXELS, self.tiles.device)

    def rows(self, scale: int) -> int:
        """Rows of the tiles of a value."""
        return self.count * (self.size * scale)**2

    def own(self, scale: int) -> torch.Tensor:
        """Flat positions (tiles, pixels) in a map of that scale; 0 where `inside` says no."""
        side = range(self.size * scale)
        return self.places(scale, side, side).place

    def inside(self, scale: int) -> torch.Tensor:
        """Which of the tiles' own pixels lie in a map of that scale, bool (tiles, pixels)."""
        side = range(self.size * scale)
        place, outside, _ = self.places(scale, side, side)
        inside = torch.ones(place.numel(), dtype=torch.bool, device=place.device)
        return (inside if outside is None else inside.index_fill_(0, outside, False)).view(place.shape)

    def write_whole(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the tiles into a map of whole tiles, (B, rows · size · scale, cols · size · scale, C)."""
        side, channels = self.size * scale, target.shape[3]
        tiles = target.view(len(target), -1, side, target.shape[2] // side, side, channels).transpose(2, 3)
        tiles[self.image[:self.active], self.row[:self.active], self.col[:self.active]] = rows.view(
            -1, side, side, channels)[:self.active]

    def write(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the tiles where they belong in the flat map of that scale."""
        place = self.own(scale)
        if self.height % self.size or self.width % self.size:
            inside = self.inside(scale)
            target.index_copy_(0, place[inside].long(), rows[inside.flatten()])
        else:
            place = place[:self.active].flatten().long()
            target.index_copy_(0, place, rows[:len(place)])

    def places(self, scale: int, rows: range, cols: range) -> Places:
        """Where what lies at these offsets from each tile's upper left pixel is in a map of that scale. Pixels of the
        added tiles lie outside."""
        key = (scale, rows, cols)
        if key not in self._places:
            height, width, side = self.height * scale, self.width * scale, self.size * scale
            # These are the longest lists there are, so they take 32 bits and one sum.
            kind = torch.int32 if len(self.tiles) * height * width < 1 << 30 else torch.int64
            down, right = (torch.tensor(list(each), device=self.tiles.device) for each in (rows, cols))
            y, x = self.row * side, self.col * side
            first, offset = (self.image * height + y) * width + x, down[:, None] * width + right
            place = first.to(kind)[:, None] + offset.to(kind).flatten()
            near = (y + rows[0] < 0) | (y + rows[-1] >= height) | (x + cols[0] < 0) | (x + cols[-1] >= width)
            near[self.active:] = True
            near = near.nonzero()[:, 0]
            y, x = y[near, None] + down, x[near, None] + right
            inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
            inside[near >= self.active] = False
            tile, pixel = (~inside).flatten(1).nonzero().unbind(1)
            outside = near[tile] * place.shape[1] + pixel
            place.view(-1).index_fill_(0, outside, 0)
            ends = torch.arange(self.count + 1, device=outside.device) * place.shape[1]
            self._places[key] = Places(place, outside if len(outside) else None,
                                       torch.searchsorted(outside, ends).tolist())
        return self._places[key]

    def stored(self, scale: int, rows: range, cols: range) -> torch.Tensor:
        """Rows (tiles, pixels) of a stored value with its band at these offsets; the last, of zeros, where none is."""
        key = ('stored', scale, rows, cols)
        if key not in self._cache:
            place, outside, _ = self.places(scale, rows, cols)
            found = self._table(scale).index_select(0, place.flatten())
            if outside is not None:
                found.index_fill_(0, outside, self.zero(scale))
            self._cache[key] = found.view(place.shape)
        return self._cache[key]

    def gather(self, kept: bool, scale: int, offsets: tuple[range, range], part: slice) -> Gather:
        """What some tiles read at these offsets, of a value that is kept (`stored`) or of a map (`places`)."""
        key = (kept, scale, *offsets, part.start, part.stop)
        if key not in self._gathers:
            if kept:
                self._gathers[key] = Gather(self.stored(scale, *offsets)[part].flatten())
            else:
                place, outside, ends = self.places(scale, *offsets)
                start, stop = ends[part.start], ends[part.stop]
                if outside is not None:
                    outside = outside[start:stop] - part.start * place.shape[1] if stop > start else None
                self._gathers[key] = Gather(place[part].flatten(), outside)
        return self._gathers[key]

    def zero(self, scale: int) -> int:
        """The number of the row of zeros."""
        return self.rows(scale) + len(self.band) * scale**2

    def _table(self, scale: int) -> torch.Tensor:
        """For each pixel of a map of that scale the row where it is stored."""
        key = ('table', scale)
        if key not in self._cache:
            own = self.own(scale)
            table = own.new_full((len(self.tiles) * self.height * self.width * scale**2,), self.zero(scale))
            rows = torch.arange(self.zero(scale), dtype=own.dtype, device=own.device)
            if self.height % self.size or self.width % self.size:
                inside = self.inside(scale)
                table[own[inside].long()] = rows[:own.numel()].view_as(own)[inside]
            else:
                whole = own[:self.active].flatten().long()
                table.index_copy_(0, whole, rows[:len(whole)])
            table.index_copy_(0, self.enlarged(self.band, scale), rows[self.rows(scale):])
            self._cache[key] = table
        return self._cache[key]

    def enlarged(self, positions: torch.Tensor, scale: int) -> torch.Tensor:
        """Flat positions of anchor pixels as those of their scale² pixels in a larger map, pixel by pixel."""
        if scale == 1:
            return positions
        image, rest = positions // (self.height * self.width), positions % (self.height * self.width)
        y, x = rest // self.width, rest % self.width
        step = torch.arange(scale, device=positions.device)
        rows = (image * self.height + y)[:, None] * scale + step
        return (rows[:, :, None] * (self.width * scale) + ((x * scale)[:, None] + step)[:, None, :]).flatten()
