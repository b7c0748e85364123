"""Lists of the active pixels or patches of a batch: made once per batch, shared by all layers."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

from basicsr_amsr.errors import UserError

CHUNK_PIXELS = {1: 1024}  # active pixels at a time: their columns of a 3×3 convolution stay in the cache
CHUNK_PATCH_PIXELS = 4096
CHUNK_GPU_PIXELS = 1 << 18  # a GPU wants to be filled; this bounds memory alone


@dataclass(frozen=True, eq=False)
class Gather:
    """Rows of a (B·H·W, C) map to read, and which of them lie outside the image: positions in `rows`, or None."""

    rows: torch.Tensor
    outside: torch.Tensor | None = None

    @cached_property
    def index(self) -> torch.Tensor:
        """The rows for kernels, int32, -1 for those outside."""
        rows = self.rows if self.outside is None else self.rows.index_fill(0, self.outside, -1)
        return rows.int()

    @cached_property
    def inside(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in `rows` of those inside the image, and these rows; where some are outside."""
        positions = (self.index >= 0).nonzero()[:, 0]
        return positions, self.rows[positions]

    def read(self, pixels: torch.Tensor) -> torch.Tensor:
        """The rows (len(rows), C)."""
        return pixels.index_select(0, self.rows)

    def clear(self, read: torch.Tensor) -> torch.Tensor:
        """Zeroes the rows that lie outside the image, in place."""
        return read if self.outside is None else read.index_fill_(0, self.outside, 0)


class ActivePatches:
    """The active size × size patches of a batch, each image with its own; size 1 is single pixels.

    Args:
        patches: bool (B, ⌈height/size⌉, ⌈width/size⌉), from the upper left corner.
        size: side of a patch.
        height, width: of the feature map.
        whole: compute all of them at once.

    Attributes:
        count: number of active patches in the batch.
        total: number of patches in the batch.
        chunk: how many patches are computed at a time; bounds memory, and keeps it in the cache.
    """

    def __init__(self, patches: torch.Tensor, size: int, height: int, width: int, whole: bool = False) -> None:
        grid = (-(-height // size), -(-width // size))
        if size < 1 or patches.shape[1:] != grid:
            raise UserError(f'patches of shape {tuple(patches.shape)}: a map of {height}x{width} has '
                            f'{grid[0]}x{grid[1]} patches of {size}x{size}.')
        self.patches, self.size, self.height, self.width = patches, size, height, width
        self.image, self.row, self.col = patches.nonzero().unbind(1)
        self.count, self.total = len(self.image), patches.numel()
        self.whole = whole
        self.chunk = max(self.count, 1) if whole else chunk_of(size, patches.device)
        self._lists: dict[tuple, list[Gather]] = {}

    @classmethod
    def of(cls, mask: torch.Tensor, size: int = 1, whole: bool = False) -> ActivePatches:
        """The patches of a mask (B, 1, H, W) that have an active pixel."""
        patches = F.max_pool2d(mask.float(), size, ceil_mode=True)[:, 0].bool() if size > 1 else mask[:, 0]
        return cls(patches, size, mask.shape[-2], mask.shape[-1], whole)

    @property
    def mask(self) -> torch.Tensor:
        """The pixels of the active patches, bool (B, 1, H, W)."""
        wide = self.patches.repeat_interleave(self.size, dim=1).repeat_interleave(self.size, dim=2)
        return wide[:, None, :self.height, :self.width]

    @property
    def full(self) -> bool:
        """Whether all patches are active."""
        return self.count == self.total

    def gathers(self, rows: Sequence[int], cols: Sequence[int]) -> list[Gather]:
        """For each chunk, the map's pixels at these offsets from each patch's upper left pixel, patch by patch."""
        key = ('map', tuple(rows), tuple(cols))
        if key not in self._lists:
            place, inside = self._places(rows, cols)
            self._lists[key] = self._chunks(torch.where(inside, place, 0), inside)
        return self._lists[key]

    def gathers_within(self, rows: Sequence[int], cols: Sequence[int]) -> list[Gather]:
        """As `gathers`, from the values of the patches: a row for each of their pixels, and a row of zeros.

        The last row, of zeros, is read for what is in no patch.
        """
        key = ('patches', tuple(rows), tuple(cols))
        if key not in self._lists:
            place, inside = self._places(rows, cols)
            own, own_inside = self._places(range(self.size), range(self.size))
            values = own.numel()
            table = place.new_full((len(self.patches) * self.height * self.width,), values)
            table[own[own_inside]] = torch.arange(values, device=place.device).view_as(own)[own_inside]
            self._lists[key] = self._chunks(torch.where(inside, table[torch.where(inside, place, 0)], values), None)
        return self._lists[key]

    def own(self) -> list[Gather]:
        """For each chunk, the patches' own pixels."""
        return self.gathers(range(self.size), range(self.size))

    @cached_property
    def images(self) -> list[Gather]:
        """For each chunk, the image that each of the patches' own pixels belongs to: rows of (B, C)."""
        return [Gather(own.rows // (self.height * self.width)) for own in self.own()]

    @cached_property
    def per_image(self) -> torch.Tensor:
        """How many pixels are active in each image, int64 (B, 1); 1 where there is none."""
        return self.mask.flatten(1).sum(1, keepdim=True).clamp(min=1)

    def _places(self, rows: Sequence[int], cols: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat pixel positions (patches, len(rows), len(cols)), and whether they lie in the image."""
        device = self.patches.device
        y = (self.row * self.size)[:, None] + torch.tensor(list(rows), device=device)
        x = (self.col * self.size)[:, None] + torch.tensor(list(cols), device=device)
        inside = ((y >= 0) & (y < self.height))[:, :, None] & ((x >= 0) & (x < self.width))[:, None, :]
        return ((self.image * self.height)[:, None] + y)[:, :, None] * self.width + x[:, None, :], inside

    def _chunks(self, place: torch.Tensor, inside: torch.Tensor | None) -> list[Gather]:
        rows = [part.flatten() for part in place.split(self.chunk)]
        if inside is None:
            return [Gather(part) for part in rows]
        outside = [(~part.flatten()).nonzero()[:, 0] for part in inside.split(self.chunk)]
        return [Gather(part, out if len(out) else None) for part, out in zip(rows, outside, strict=True)]


def chunk_of(size: int, device: torch.device) -> int:
    """How many patches of that side are computed at a time."""
    if device.type != 'cpu':
        return max(CHUNK_GPU_PIXELS // size**2, 1)
    return CHUNK_PIXELS.get(size) or max(CHUNK_PATCH_PIXELS // size**2, 1)


def pixel_rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) as (B·H·W, C); a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def write(gather: Gather, values: torch.Tensor, target: torch.Tensor) -> None:
    """Put the rows of values (len(gather.rows), C) where they were read; those outside the image go nowhere."""
    if gather.outside is None:
        target.index_copy_(0, gather.rows, values)
        return
    positions, rows = gather.inside
    target.index_copy_(0, rows, values[positions])
