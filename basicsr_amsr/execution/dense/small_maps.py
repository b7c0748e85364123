"""Many squares of one size within larger maps, such as the patches that MGA refines, by the native kernels: zeros are
around each, as in a batch of torch's."""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from basicsr_amsr.execution.dense.form import NativeForm, Schedule
from basicsr_amsr.execution.dense.kept_in_float32 import winograd_is_faster
from basicsr_amsr.execution.dense.passes import Pass
from basicsr_amsr.execution.dense.segment_build import Build
from basicsr_amsr.execution.dense.segments import Segment
from basicsr_amsr.execution.dense.units import Unit
from basicsr_amsr.execution.dense.watch import Modules
from basicsr_amsr.execution.graph.ops import Conv, Graph
from basicsr_amsr.execution.graph.sizes import at
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.native.maps import Grid, Patches
from basicsr_amsr.execution.precision import undisturbed

MOST = 64  # maps of one call: what they need stays in the cache


class Squares(NamedTuple):
    """Squares within maps.

    Attributes:
        maps: (N, C, H, W), float32, contiguous.
        origins: of each square the elements from the first of `maps` to its own first, (K,), int64.
        side: in pixels.
    """

    maps: torch.Tensor
    origins: np.ndarray
    side: int


def squares_of(maps: torch.Tensor, batch: torch.Tensor, row: torch.Tensor, col: torch.Tensor, step: int,
               side: int) -> Squares:
    """The squares at (row, col) · step of the maps with the numbers `batch`, (K,) each, int64."""
    image, _, line, _ = maps.stride()
    return Squares(maps, (batch * image + (row * line + col) * step).numpy(), side)


class MapsBuild(Build):
    """A segment as a program for small maps."""

    apart = True

    def _lists(self) -> None:
        self._of_six: dict[Grid, Patches] = {}

    def _folded(self, units: list[Unit]) -> list[Unit]:
        return units  # folding leaves the border to torch, and that is most of a small map

    def _patches(self, unit: Unit) -> Patches:
        if self._winograd(unit) == 'winograd':
            return super()._patches(unit)
        grid = self._geometry(unit.source)[1]['grid']
        if grid not in self._of_six:
            self._of_six[grid] = self.program.patches(grid, 6)
        return self._of_six[grid]

    def _last_passes(self, passes: list[Pass]) -> tuple[dict[int, int], set[int]]:
        last, local = super()._last_passes(passes)
        return last, local - {unit.value for unit in self.units if self._winograd(unit) == 'winograd6'}

    def _winograd(self, unit: Unit) -> str:
        """F(6x6, 3x3) where it has fewer products: a patch of 4x4 with its halo is one tile of it, and four of
        F(4x4, 3x3)."""
        op = self.graph.ops[unit.ops[0]]
        if self.precision != 'float32' or not isinstance(op, Conv) or op.transposed or unit.enlarged > 1:
            return 'winograd'
        outputs, inputs, *kernel = self.graph.weights[op.weight].shape
        if op.padding != (1, 1) or not winograd_is_faster(kernel, op.stride, inputs, outputs // op.groups):
            return 'winograd'
        sides = [at(side, self.graph.traced) for side in self.graph.shape(unit.source)[2:]]
        four, six = (math.prod(-(-side // edge) for side in sides) * (edge + 2)**2 for edge in (4, 6))
        return 'winograd6' if six < four else 'winograd'


class MapsSchedule(Schedule):
    """A graph for small maps, ready to run.

    Raises:
        UserError: the native kernels are absent, or have not all of the network.
    """

    chunk = 0
    most = MOST

    def __init__(self, graph: Graph, precision: str) -> None:
        try:
            super().__init__(graph, precision)
        except ValueError as error:  # sizes that are related as those of a few pixels cannot tell
            raise Unreadable(f'{graph.name}: {error}') from error
        others = [graph.ops[number].where for segment in self.segments if not segment.native for number in segment.ops]
        if others or len(self.builds) > 1:
            raise Unreadable(f'{graph.name}: the native kernels have not all of it: {others[0] if others else ""}')

    def _build(self, segment: Segment, precision: str) -> Build:
        return MapsBuild(self.graph, segment, self.constants, precision)

    def write(self, net: nn.Module, modules: Modules, source: Squares, target: Squares) -> None:
        """Write `net(x)` for each square x of the source, C × side × side, to that of the target."""
        with self.lock:
            self._follow(net, modules, source.maps[:1], ())
            ((number, build),) = self.builds.items()
            for first in range(0, len(source.origins), self.most):
                part = slice(first, first + self.most)
                images = {build.size: source, **{
                    image: target if value else source for value, image in build.images.items()}}
                self.runners[number].run({each: squares.maps for each, squares in images.items()},
                                         size=(source.side, source.side),
                                         origins={each: squares.origins[part] for each, squares in images.items()})


class MapsForm(NativeForm):
    """Runs a network on squares by the native kernels."""

    def write(self, net: nn.Module, source: Squares, target: Squares, precision: str) -> None:
        """Write `net(x)`, in evaluation mode and without gradients, for each square x of the source, (1, C, side,
        side), to that of the target.

        Args:
            precision: 'float32' or 'bfloat16', of features and products.

        Raises:
            UserError: the network cannot be read, the kernels lack something, or are not there.
        """
        with undisturbed():
            graph = self.traces.graph(net, source.maps[:1, :, :source.side, :source.side])
            schedule = self._schedules.get((id(graph), precision), lambda: MapsSchedule(graph, precision))
            schedule.write(net, self.modules(net), source, target)
