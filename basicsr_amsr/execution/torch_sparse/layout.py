"""Where the rows of a value lie in memory: patch by patch, then the pixels around the patches, then a row of zeros."""
from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.gather import Gather
from basicsr_amsr.execution.torch_sparse.neighbours import pixels_near
from basicsr_amsr.execution.torch_sparse.patches import Patches, put_together
from basicsr_amsr.host import on_device, on_host, positions


class Layout:
    """The active patches of a batch at every scale of a network; made once for an image, shared by all its values.

    On a GPU the mask is waited for, once; sizes of all lists are counted from it on the host.

    Args:
        patches: bool (B, ⌈height/size⌉, ⌈width/size⌉), the active ones.
        size: their side in pixels of the anchor.
        height, width: of the anchor's map.
        halo: how many pixels around the patches are known too (the band); 0 where skipped pixels hold nothing.
            Then no patch is computed that is not active.
        whole: compute all of them at once; else squares of patches that are all active are computed as larger patches.
        device: of the maps; that of `patches` by default.

    Attributes:
        host: the active patches as numpy has them. patches: on the device.
        groups: the patches of each side, the largest first.
        spare: memory of rows that are done, by rows, channels and format; the last row is 0.

    Raises:
        UserError: the patches are not those of such a map.
    """

    def __init__(self, patches: torch.Tensor, size: int, height: int, width: int, halo: int,
                 whole: bool = False, device: torch.device | None = None) -> None:
        grid = (-(-height // size), -(-width // size))
        if patches.shape[1:] != grid:
            raise UserError(f'patches of shape {tuple(patches.shape)}: a map of {height}x{width} has '
                            f'{grid[0]}x{grid[1]} patches of {size}x{size}.')
        self.host, self.device = on_host(patches), device or patches.device
        self.patches = patches if patches.device == self.device else on_device(self.host, self.device)
        self.size, self.height, self.width, self.halo = size, height, width, halo
        self.groups: list[Patches] = []
        for squares, side in [(self.host, size)] if whole else put_together(self.host, size):
            self.groups.append(Patches(squares, side, height, width, self.device, self.rows(1), whole, exact=not halo))
        self._cache: dict[tuple, torch.Tensor] = {}
        self._gathers: dict[tuple, Gather] = {}
        self.spare: dict[tuple[int, int, torch.dtype], list[torch.Tensor]] = {}

    @cached_property
    def skipped(self) -> torch.Tensor:
        """Positions of skipped pixels in the flat map of the anchor."""
        return positions((~self.mask(1)).flatten(), int(self.skipped_of_images.sum()))

    @cached_property
    def skipped_of_images(self) -> np.ndarray:
        """How many pixels of each image are skipped, int64 (B,)."""
        high, wide = (np.minimum(self.size, length - np.arange(0, length, self.size))
                      for length in (self.height, self.width))
        return self.height * self.width - self.host @ wide @ high

    @cached_property
    def band(self) -> torch.Tensor:
        """Positions of the pixels around the patches."""
        if not self.halo:
            return torch.empty(0, dtype=torch.int64, device=self.device)
        mask = self.mask(1)
        near = F.max_pool2d(mask.float(), 2 * self.halo + 1, 1, self.halo).bool()
        return positions((near & ~mask).flatten(), self.band_pixels)

    @cached_property
    def band_pixels(self) -> int:
        """How many pixels the band has."""
        return pixels_near(self.host, self.size, self.height, self.width, self.halo)

    @cached_property
    def active(self) -> int:
        """Number of active patches."""
        return sum(group.active * group.size**2 for group in self.groups) // self.size**2

    @property
    def full(self) -> bool:
        """Whether all patches are active."""
        return self.active == self.host.size

    @cached_property
    def pixels(self) -> torch.Tensor:
        """How many pixels are active in each image, (B, 1); 1 where there is none."""
        return self.mask(1).flatten(1).sum(1, keepdim=True).clamp_(min=1)

    def mask(self, scale: int) -> torch.Tensor:
        """The pixels of the active patches, bool (B, 1, scale · H, scale · W)."""
        side = self.size * scale
        wide = self.patches.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
        return wide[:, None, :self.height * scale, :self.width * scale]

    def rows(self, scale: int) -> int:
        """Rows of the patches of a value."""
        return self.groups[-1].rows(scale).stop if self.groups else 0

    def sums(self, rows: torch.Tensor, scale: int, dtype: torch.dtype) -> torch.Tensor:
        """The sum of the rows of each image's patches (B, C), of pixels in the image alone."""
        total = torch.zeros(len(self.patches), rows.shape[1], dtype=dtype, device=rows.device)
        for group in self.groups:
            total.index_add_(0, group.image[:group.active], group.sums(rows[group.rows(scale)], scale, dtype))
        return total

    def whole_sides(self, scale: int) -> tuple[int, int]:
        """Height and width of the smallest map that all patches fit into."""
        side = max(group.size for group in self.groups)
        height, width = (-(-length // side) * side * scale for length in (self.height, self.width))
        return height, width

    def write_whole(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the patches into a map (B, *whole_sides, C)."""
        for group in self.groups:
            group.write_whole(rows[group.rows(scale)], scale, target)

    def write(self, rows: torch.Tensor, scale: int, target: torch.Tensor) -> None:
        """Put the rows of the patches where they belong in the flat map of that scale."""
        for group in self.groups:
            group.write(rows[group.rows(scale)], scale, target)

    def gather(self, kept: bool, scale: int, offsets: tuple[range, range], group: Patches, part: slice) -> Gather:
        """What some patches read at these offsets, of a value that is kept or of a map."""
        key = (kept, scale, *offsets, group.size, part.start, part.stop)
        if key not in self._gathers:
            if kept:
                self._gathers[key] = Gather(self._stored(scale, *offsets, group)[part].flatten())
            else:
                self._gathers[key] = Gather(group.places(scale, *offsets)[part].flatten(),
                                            group.missing(scale, *offsets, part))
        return self._gathers[key]

    def own(self, group: Patches, part: slice) -> Gather:
        """Where the own pixels of some patches are in the map."""
        side = range(group.size)
        return self.gather(False, 1, (side, side), group, part)

    def images(self, size: int, group: Patches, part: slice) -> Gather:
        """The image that each pixel of some patches belongs to, in a map where their side is `size`."""
        key = ('images', size, group.size, part.start, part.stop)
        if key not in self._gathers:
            self._gathers[key] = Gather(group.image[part].repeat_interleave(size**2))
        return self._gathers[key]

    def zero(self, scale: int) -> int:
        """The number of the row of zeros."""
        return self.rows(scale) + self.band_pixels * scale**2

    def _stored(self, scale: int, rows: range, cols: range, group: Patches) -> torch.Tensor:
        """Rows (patches, pixels) of a stored value with its band at these offsets; the last, of zeros, where none
        is."""
        key = ('stored', scale, rows, cols, group.size)
        if key not in self._cache:
            border = max(0, -rows[0], -cols[0], rows[-1] + 1 - group.size * scale, cols[-1] + 1 - group.size * scale)
            table = self._table(scale, border)
            place = group.within(scale, rows, cols, table.shape[1], table.shape[2], border)
            self._cache[key] = table.flatten().index_select(0, place.flatten()).view(place.shape)
        return self._cache[key]

    def _table(self, scale: int, border: int) -> torch.Tensor:
        """For each pixel of a map of that scale, in whole patches and with a border, the row where it is stored."""
        key = ('table', scale, border)
        if key not in self._cache:
            zero, (high, wide) = self.zero(scale), self.whole_sides(scale)
            rows = torch.arange(zero, dtype=torch.int32 if zero < 1 << 31 else torch.int64, device=self.device)
            table = rows.new_full((len(self.patches), high + 2 * border, wide + 2 * border), zero)
            patches = table[:, border:border + high, border:border + wide]
            self.write_whole(rows[:self.rows(scale), None], scale, patches[..., None])
            if (high, wide) != (self.height * scale, self.width * scale):
                patches[:, self.height * scale:], patches[:, :, self.width * scale:] = zero, zero
            if len(self.band):
                place = self.enlarged(self.band, scale, (*table.shape[1:], border))
                table.view(-1).index_copy_(0, place, rows[self.rows(scale):])
            self._cache[key] = table
        return self._cache[key]

    def enlarged(self, positions: torch.Tensor, scale: int, frame: tuple[int, int, int] | None = None) -> torch.Tensor:
        """Flat positions of anchor pixels as those of their scale² pixels in a larger map, pixel by pixel.

        Args:
            positions: in the flat map of the anchor.
            scale: of the larger map.
            frame: height and width of a map that holds it, and how far it begins from that one's upper left corner.
        """
        if scale == 1 and frame is None:
            return positions
        height, width, border = frame or (self.height * scale, self.width * scale, 0)
        image, rest = positions // (self.height * self.width), positions % (self.height * self.width)
        step = torch.arange(border, border + scale, device=positions.device)
        y, x = rest // self.width * scale, rest % self.width * scale
        rows = (image * height + y)[:, None] + step
        return (rows[:, :, None] * width + (x[:, None] + step)[:, None, :]).flatten()
