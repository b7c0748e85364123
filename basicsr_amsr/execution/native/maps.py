"""What programs are made of: grids, maps, ranges of channels and lists of patches. Nothing here knows a size yet."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from basicsr_amsr.execution.native.tables import PATCH, Layout, Type

TYPES = {'float32': Type.FLOAT32, 'bfloat16': Type.BFLOAT16}


@dataclass(eq=False)
class Grid:
    """A resolution: `size(height, width)` of the image gives that of the grid, in pixels. The image itself is one."""
    size: Callable[[int, int], tuple[int, int]]
    index: int = 0


@dataclass(eq=False)
class Patches:
    """A list of patches of a grid, given anew for each image; by default all of them.

    edge: of a patch in pixels, 4, or 6 for what alone runs on such lists (`winograd6`).
    """
    grid: Grid
    index: int = 0
    edge: int = PATCH


@dataclass(eq=False)
class Map:
    """`channels` values for each pixel of `grid`, `scale` times as many pixels a side.

    pixel: elements from pixel to pixel, at least `channels`; what is over may be overwritten with anything finite.
    storage: number of the memory it lies in; maps of equal geometry may share one (then one's values go when the other
    is written).
    """
    index: int
    grid: Grid
    scale: int
    channels: int
    pixel: int
    type: Type
    layout: Layout
    storage: int
    name: str = ''
    low: int = field(default=0, init=False)  # pixels of border that operators read above and left of the map

    def __getitem__(self, channels: slice) -> Slice:
        first, end, step = channels.indices(self.channels)
        if step != 1 or first >= end:
            raise ValueError(f'{self}: {channels} is no range of its {self.channels} channels')
        return Slice(self, first, end - first)

    def __str__(self) -> str:
        return self.name or f'map {self.index}'

    @property
    def bytes_each(self) -> int:
        """Bytes of one element."""
        return 2 if self.type == Type.BFLOAT16 else 4


@dataclass(frozen=True)
class Slice:
    """Channels [first, first + channels) of a map."""
    map: Map
    first: int
    channels: int

    @property
    def lanes(self) -> int:
        """Channels from `first` on that a store may overwrite."""
        to_the_end = self.first + self.channels == self.map.channels
        return self.map.pixel - self.first if to_the_end else self.channels


Channels = Map | Slice


def channels_of(given: Channels) -> Slice:
    """A map as the range of all its channels."""
    return given if isinstance(given, Slice) else Slice(given, 0, given.channels)
