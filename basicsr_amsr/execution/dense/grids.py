"""Which grid a map lies on: sizes that are whole multiples of one another at every size share one."""
from __future__ import annotations

from collections.abc import Callable

from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.sizes import Dim, at
from basicsr_amsr.execution.native.maps import Grid
from basicsr_amsr.execution.native.program import Program

Sides = tuple[tuple[int, int], ...]  # of a map, for each of some sizes of the image
MOST_SCALE = 8  # of the native kernels


class Grids:
    """The grids of one program.

    Args:
        graph: whose sizes they are. program: which they are made in.
        apart: maps as large as the image, and multiples of it, lie on the image's grid, whatever is a fraction of it.
            Among a few pixels, or of one size alone, a fraction says nothing.
    """

    def __init__(self, graph: Graph, program: Program, apart: bool = False) -> None:
        self.graph, self.program, self.apart, self.samples = graph, program, apart, graph.samples
        self.known: dict[Sides, Grid] = {tuple((h, w) for _, h, w in self.samples): program.image_grid}
        self.found: dict[Sides, tuple[Grid, int]] = {}
        self.sides: set[Sides] = set()

    def learn(self, values: list[int]) -> None:
        """Find the grids of values, small ones first, so that larger maps are multiples of them."""
        shapes = {self.graph.shape(value)[2:] for value in values if len(self.graph.shape(value)) == 4}
        self.sides |= {self._sides(*shape) for shape in shapes}
        for height, width in sorted(shapes, key=lambda shape: [at(side, self.samples[0]) for side in shape]):
            self.find(height, width)

    def find(self, height: Dim, width: Dim) -> tuple[Grid, int]:
        """The grid of a map, and how many of its pixels a side make one of the grid."""
        sides = self._sides(height, width)
        if sides not in self.found:
            self.found[sides] = self._known(sides) or (self.program.grid(_size_of(height, width)), 1)
            if self.found[sides][1] == 1:
                self.known[sides] = self.found[sides][0]
        return self.found[sides]

    def _sides(self, height: Dim, width: Dim) -> Sides:
        return tuple((at(height, size), at(width, size)) for size in self.samples)

    def _known(self, sides: Sides) -> tuple[Grid, int] | None:
        if self.apart and sides in self.known:
            return self.known[sides], 1
        image = self.program.image_grid
        for known, grid in sorted(self.known.items(), key=lambda each: (self.apart and each[1] is not image, each[0])):
            # small ones first
            scale = _scale(sides, known)
            # what lies on one grid has to lie there whole: an upsampler reads what it enlarges
            if scale == 1 or (scale and max(_scale(each, known) for each in self.sides) <= MOST_SCALE):
                return grid, scale
        return None


def _scale(sides: Sides, known: Sides) -> int:
    """How many times as large a map is, 0 where it is no whole multiple."""
    scale = sides[0][0] // max(known[0][0], 1)
    return scale if sides == tuple((h * scale, w * scale) for h, w in known) else 0


def _size_of(height: Dim, width: Dim) -> Callable[[int, int], tuple[int, int]]:
    return lambda h, w: (at(height, (1, h, w)), at(width, (1, h, w)))
