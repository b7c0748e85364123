"""Where the rows of a value lie in memory: tile by tile, then the pixels around the tiles, then a row of zeros."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from basicsr_amsr.execution.active import Gather, chunk_of

CHUNK_TILE_PIXELS = 8192


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

    def own(self, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat positions (tiles, pixels) in a map of that scale, and whether they lie in it."""
        side = range(self.size * scale)
        return self.places(scale, side, side)

    def write_whole(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the tiles into a map of whole tiles, (B, rows · size · scale, cols · size · scale, C)."""
        side, channels = self.size * scale, target.shape[3]
        tiles = target.view(len(target), -1, side, target.shape[2] // side, side, channels).transpose(2, 3)
        tiles[self.image[:self.active], self.row[:self.active], self.col[:self.active]] = rows.view(
            -1, side, side, channels)[:self.active]

    def write(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the tiles where they belong in the flat map of that scale."""
        place, inside = self.own(scale)
        if self.height % self.size or self.width % self.size:
            target.index_copy_(0, place[inside], rows[inside.flatten()])
        else:
            place = place[:self.active].flatten()
            target.index_copy_(0, place, rows[:len(place)])

    def places(self, scale: int, rows: Sequence[int], cols: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `own`, at these offsets from each tile's upper left pixel; positions outside are 0."""
        key = ('places', scale, tuple(rows), tuple(cols))
        if key not in self._cache:
            height, width, side = self.height * scale, self.width * scale, self.size * scale
            y = (self.row * side)[:, None] + torch.tensor(list(rows), device=self.tiles.device)
            x = (self.col * side)[:, None] + torch.tensor(list(cols), device=self.tiles.device)
            inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
            inside[self.active:] = False
            flat = ((self.image * height)[:, None] + y)[:, :, None] * width + x[:, None, :]
            self._cache[key] = torch.where(inside, flat, 0).flatten(1)
            self._cache[(*key, 'inside')] = inside.flatten(1)
        return self._cache[key], self._cache[(*key, 'inside')]

    def stored(self, scale: int, rows: Sequence[int], cols: Sequence[int]) -> torch.Tensor:
        """Rows (tiles, pixels) of a stored value with its band at these offsets; the last, of zeros, where none is."""
        key = ('stored', scale, tuple(rows), tuple(cols))
        if key not in self._cache:
            place, inside = self.places(scale, rows, cols)
            self._cache[key] = torch.where(inside, self._table(scale)[place], self.zero(scale))
        return self._cache[key]

    def gather(self, kept: bool, scale: int, offsets: tuple[Sequence[int], Sequence[int]], part: slice) -> Gather:
        """What some tiles read at these offsets, of a value that is kept (`stored`) or of a map (`places`)."""
        rows, cols = offsets
        key = (kept, scale, tuple(rows), tuple(cols), part.start, part.stop)
        if key not in self._gathers:
            if kept:
                self._gathers[key] = Gather(self.stored(scale, rows, cols)[part].flatten())
            else:
                place, inside = (each[part].flatten() for each in self.places(scale, rows, cols))
                outside = (~inside).nonzero()[:, 0]
                self._gathers[key] = Gather(place, outside if len(outside) else None)
        return self._gathers[key]

    def zero(self, scale: int) -> int:
        """The number of the row of zeros."""
        return self.rows(scale) + len(self.band) * scale**2

    def _table(self, scale: int) -> torch.Tensor:
        """For each pixel of a map of that scale the row where it is stored."""
        key = ('table', scale)
        if key not in self._cache:
            own, inside = self.own(scale)
            table = own.new_full((len(self.tiles) * self.height * self.width * scale**2,), self.zero(scale))
            rows = torch.arange(self.zero(scale), device=own.device)
            if self.height % self.size or self.width % self.size:
                table[own[inside]] = rows[:own.numel()].view_as(own)[inside]
            else:
                whole = own[:self.active].flatten()
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
