"""Which tokens of a batch are active: square cells of them, and lists that all layers share."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from basicsr_amsr.execution.native.attention import AttentionLists


@dataclass(frozen=True)
class Window:
    """A partition of token maps into attention windows.

    Attributes:
        height, width: of a window, in tokens.
        down, right: cyclic shift of the map before it is parted, up and left, in tokens.
        multiple: the map is padded by zeros, below and on the right, to multiples of these, before it is shifted.
        masked: windows that a shift has put together of distant parts do not attend between these.
    """

    height: int
    width: int
    down: int = 0
    right: int = 0
    multiple: tuple[int, int] = (1, 1)
    masked: bool = True

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Sides of a map once it is padded."""
        return -(-height // self.multiple[0]) * self.multiple[0], -(-width // self.multiple[1]) * self.multiple[1]

    def part(self, maps: torch.Tensor, unit: int = 1) -> torch.Tensor:
        """Padded maps (B, H, W, C), shifted, as windows (B · windows, tokens of one, C); `unit`: tokens on a side that
        an element of the maps stands for."""
        high, wide = self.height // unit, self.width // unit
        if self.down or self.right:
            maps = torch.roll(maps, (-(self.down // unit), -(self.right // unit)), (1, 2))
        batch, rows, cols, channels = maps.shape
        parts = maps.reshape(batch, rows // high, high, cols // wide, wide, channels)
        return parts.transpose(2, 3).reshape(-1, high * wide, channels)

    def join(self, parts: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
        """The inverse of `part`: (B, H, W, C)."""
        maps = parts.view(-1, rows // self.height, cols // self.width, self.height, self.width, parts.shape[-1])
        maps = maps.transpose(2, 3).reshape(-1, rows, cols, parts.shape[-1])
        return torch.roll(maps, (self.down, self.right), (1, 2)) if self.down or self.right else maps

    def regions(self, rows: int, cols: int, unit: int = 1) -> torch.Tensor | None:
        """Which part of the map each token (or unit of tokens) of each window comes from, (windows, tokens); None where
        all of a window attends to all of it."""
        if not self.masked or not (self.down or self.right):
            return None

        def label(side: int, window: int, shift: int) -> torch.Tensor:
            places = torch.arange(side // unit)
            return (places >= (side - window) // unit).long() + (places >= (side - shift) // unit).long()

        labels = label(rows, self.height, self.down)[:, None] * 3 + label(cols, self.width, self.right)
        still = Window(self.height, self.width)
        return still.part(labels[None, ..., None], unit)[..., 0]


class Cells:
    """The active cells of a batch of token maps; made once for each batch.

    Every active cell has side² packed rows, row by row of the cell, those outside the map too: what is in them reaches
    nothing. Cells that hang over the map's edge are always active, so that a skipped cell lies in it whole; one cell at
    least is.

    Args:
        active: bool (B, ⌈height/side⌉, ⌈width/side⌉).
        side: of a cell, in tokens.
        height, width: of the maps.

    Attributes:
        count: active cells. area: tokens of a cell.
    """

    def __init__(self, active: torch.Tensor, side: int, height: int, width: int) -> None:
        active = active.clone()
        active[:, height // side:] = True
        active[:, :, width // side:] = True
        if not active.any():
            active[0, 0, 0] = True
        self.active, self.side, self.height, self.width = active, side, height, width
        self.area = side**2
        self.image, self.row, self.col = active.nonzero().unbind(1)
        self.count = len(self.image)
        self._windows: dict[Window, WindowLists] = {}
        self._halos: dict[tuple[int, int], Halo] = {}

    @property
    def batch(self) -> int:
        """Images."""
        return len(self.active)

    @cached_property
    def mask(self) -> torch.Tensor:
        """Active tokens, bool (B, H · W, 1)."""
        wide = self.active.repeat_interleave(self.side, 1).repeat_interleave(self.side, 2)
        return wide[:, :self.height, :self.width].reshape(self.batch, -1, 1)

    @cached_property
    def _places(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.around(0)

    def around(self, reach: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat positions in the batch of each cell's tokens and those up to `reach` around it.

        Returns:
            Positions (cells, (side + 2 · reach)²), 0 for tokens outside the map; and which lie in the map.
        """
        step = torch.arange(-reach, self.side + reach, device=self.active.device)
        y, x = (self.row * self.side)[:, None] + step, (self.col * self.side)[:, None] + step
        inside = ((y >= 0) & (y < self.height))[:, :, None] & ((x >= 0) & (x < self.width))[:, None, :]
        place = ((self.image * self.height)[:, None] + y)[:, :, None] * self.width + x[:, None, :]
        return torch.where(inside, place, 0).flatten(1), inside.flatten(1)

    @property
    def place(self) -> torch.Tensor:
        """The flat position in the batch of each packed row's token, (count · area,)."""
        return self._places[0].flatten()

    @cached_property
    def outside(self) -> torch.Tensor | None:
        """Packed rows that lie outside the map, int64; None where there are none."""
        found = (~self._places[1].flatten()).nonzero()[:, 0]
        return found if len(found) else None

    @cached_property
    def of_image(self) -> list[int]:
        """The number of packed rows of each image."""
        counts: list[int] = (torch.bincount(self.image, minlength=self.batch) * self.area).tolist()
        return counts

    @cached_property
    def of_row(self) -> torch.Tensor:
        """The number of the image that each packed row belongs to."""
        return self.image.repeat_interleave(self.area)

    @cached_property
    def skipped(self) -> torch.Tensor:
        """The other cells, (n, 3): image, row, column."""
        return (~self.active).nonzero()

    @cached_property
    def packed_of(self) -> torch.Tensor:
        """The packed row of each token of the batch, -1 where it is skipped, (B · H · W,)."""
        place, inside = self._places
        table = place.new_full((self.batch * self.height * self.width,), -1)
        rows = torch.arange(place.numel(), device=place.device).view_as(place)
        table[place[inside]] = rows[inside]
        return table

    def halo(self, rows: int, cols: int) -> Halo:
        """The tokens around active cells that a kernel reads, which reaches `rows` up and down, `cols` sideways."""
        if (rows, cols) not in self._halos:
            self._halos[rows, cols] = Halo.of(self, max(rows, cols))
        return self._halos[rows, cols]

    def windows(self, window: Window) -> WindowLists:
        """The windows of a partition that have an active cell."""
        if window not in self._windows:
            self._windows[window] = WindowLists(self, window)
        return self._windows[window]

    def means(self, maps: torch.Tensor) -> torch.Tensor:
        """The mean of maps (B, C, H, W) over each cell, (B, C, rows, cols); of cells that hang over the edge, of their
        tokens in the map."""
        return F.avg_pool2d(maps, self.side, ceil_mode=True)

    def merged(self, tokens: torch.Tensor) -> torch.Tensor:
        """The means over skipped cells (n, C) of tokens (B, H · W, C)."""
        maps = tokens.transpose(1, 2).reshape(self.batch, -1, self.height, self.width)
        image, row, col = self.skipped.unbind(1)
        return self.means(maps)[image, :, row, col]


@dataclass(frozen=True)
class Halo:
    """What a layer reads around the active cells.

    Attributes:
        band: flat positions of the skipped tokens that are read.
        index: (cells, side + 2 · reach, side + 2 · reach), rows of [packed rows, rows of the band, a row of zeros].
    """

    band: torch.Tensor
    index: torch.Tensor

    @cached_property
    def native(self) -> np.ndarray:
        """The index for the native library."""
        return self.index.int().numpy()

    @classmethod
    def of(cls, cells: Cells, reach: int) -> Halo:
        """The lists for a reach in tokens."""
        place, inside = cells.around(reach)
        row = cells.packed_of[place]
        band, number = place[inside & (row < 0)].unique(return_inverse=True)
        packed = cells.count * cells.area
        row[inside & (row < 0)] = number + packed
        row[~inside] = packed + len(band)
        side = cells.side + 2 * reach
        return cls(band, row.view(-1, side, side))


class Kind(NamedTuple):
    """The n windows in which equal numbers of cells are computed, read token by token, and read as one key.

    Attributes:
        query, token, merged: cells of the window that are computed (n, a), whose tokens are keys (n, t), that are one
            key each (n, m).
        query_rows, key_rows: (n, a · area) packed rows and (n, t · area + m) rows of the store.
        query_regions, key_regions: (n, a) and (n, t + m), see `Window.regions`; or None.
    """

    query: torch.Tensor
    token: torch.Tensor
    merged: torch.Tensor
    query_rows: torch.Tensor
    key_rows: torch.Tensor
    query_regions: torch.Tensor | None
    key_regions: torch.Tensor | None


class WindowLists:
    """The windows that have an active cell.

    Keys are rows of a store: [packed rows, a row of zeros, one row for each skipped cell].

    Attributes:
        kinds: all of them. cells, area: of a window, tokens of a cell.
    """

    def __init__(self, cells: Cells, window: Window) -> None:
        side, area, device = cells.side, cells.area, cells.active.device
        rows, cols = (length // side for length in window.padded(cells.height, cells.width))
        height, width = cells.active.shape[1:]
        packed = cells.count * area
        store = torch.full((cells.batch, rows, cols), -1, device=device)  # of a cell: its first row; -1 outside the map
        numbers = torch.empty_like(cells.active, dtype=torch.long)
        numbers[cells.active] = torch.arange(cells.count, device=device) * area
        numbers[~cells.active] = torch.arange(len(cells.skipped), device=device) + packed + 1
        store[:, :height, :width] = numbers
        parts = window.part(store[..., None], side)[..., 0]
        self.cells, self.area = parts.shape[1], area
        queries = (parts >= 0) & (parts < packed)
        tokens = parts <= packed  # outside the map too
        regions = window.regions(rows * side, cols * side, side)
        if regions is not None:
            regions = regions.to(device).repeat(cells.batch, 1)
        step = torch.arange(area, device=device)
        outside = cells.outside
        kind = queries.sum(1) * (self.cells + 1) + tokens.sum(1)
        self.kinds: list[Kind] = []
        for each in kind.unique().tolist():
            if each <= self.cells:  # no query
                continue
            chosen = (kind == each).nonzero()[:, 0]
            part, number = parts[chosen], len(chosen)
            query = queries[chosen].nonzero()[:, 1].view(number, -1)
            token = tokens[chosen].nonzero()[:, 1].view(number, -1)
            merged = (~tokens[chosen]).nonzero()[:, 1].view(number, -1)
            query_rows = (part.gather(1, query)[..., None] + step).flatten(1)
            first = part.gather(1, token)[..., None]
            key_rows = torch.where(first < 0, packed, first + step).flatten(1)
            if outside is not None:
                key_rows[torch.isin(key_rows, outside)] = packed
            key_rows = torch.cat([key_rows, part.gather(1, merged)], 1)
            of: tuple[torch.Tensor | None, ...] = (None, None)
            if regions is not None:
                region = regions[chosen]
                of = region.gather(1, query), region.gather(1, torch.cat([token, merged], 1))
            self.kinds.append(Kind(query, token, merged, query_rows, key_rows, *of))

    @cached_property
    def native(self) -> AttentionLists:
        """The lists as the native library takes them."""
        return AttentionLists(self.kinds, self.area, self.cells)
