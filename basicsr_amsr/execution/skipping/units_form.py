"""A network with units that a mask skips, by the native kernels: scheduled once for a kind of size."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from basicsr_amsr.execution.dense.form import DenseForm, Given, NativeForm, Schedule, images_of
from basicsr_amsr.execution.dense.segment_build import Build
from basicsr_amsr.execution.dense.segments import Segment
from basicsr_amsr.execution.dense.watch import Modules
from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.sizes import at
from basicsr_amsr.execution.graph.skipped_units import PlainTraces, units_of
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.native.maps import Map, Patches
from basicsr_amsr.execution.native.selection import patches_of
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.execution.precision import undisturbed
from basicsr_amsr.execution.skipping.kept_build import KeptBuild
from basicsr_amsr.execution.skipping.lists import lists_of

# Of a map's height and width: its active patches, bool (B, rows, columns), and their side in its pixels.
Chosen = Callable[[int, int], tuple[torch.Tensor, int]]


class UnitsSchedule(Schedule):
    """A graph with units, ready to run.

    Raises:
        UserError: the native kernels are absent, or lack something of the network.
    """

    chunk = 0  # as of calibrated networks

    def __init__(self, graph: Graph, precision: str) -> None:
        self.rules = units_of(graph)
        super().__init__(self.rules.graph, precision)
        native = {number for segment in self.segments if segment.native for number in segment.ops}
        left = [value for value in self.rules.kept if value - 1 not in native]
        if left:
            raise Unreadable(f'{graph.name}: the native kernels have not all of a unit: '
                             f'{self.graph.ops[left[0] - 1].where}')

    def _build(self, segment: Segment, precision: str) -> Build:
        return KeptBuild(self.rules, segment, self.constants, precision)

    def given(self, x: torch.Tensor, number: int, patches: Chosen) -> Given | None:
        """What the programs need for one image (1, C, H, W); None where all of it is active.

        Args:
            number: of the image in its batch. patches: of the batch.
        """
        size = (1, x.shape[2], x.shape[3])
        images: dict[Map, torch.Tensor] = {}
        held: dict[Patches, np.ndarray] = {}
        full = True
        for build in self.builds.values():
            assert isinstance(build, KeptBuild)
            for grid, listed in build.lists.items():
                height, width = (at(side, size) for side in self.graph.shape(listed.value)[2:])
                chosen, side = patches(height, width)
                height, width, side = height // listed.scale, width // listed.scale, side // listed.scale
                if side % PATCH:
                    raise Unreadable(f'patches of {side} pixels: native kernels compute those of {PATCH}')
                (active,) = patches_of(chosen[number:number + 1].cpu(), side, height, width)
                lists = lists_of(self.library, active, height, width)
                held |= listed.given(active, lists)
                if grid in build.gain:  # where nothing is active nobody reads the average
                    images[build.gain[grid]] = torch.full((1, 1, 1), 1 / max(1 - lists.share, 1e-9))
                full &= bool(active.all())
        return None if full else Given(images, held)


class UnitsForm(NativeForm):
    """Runs the forward of a network with units, which its traces have marked, by the native kernels.

    Attributes:
        dense: runs it where nothing is skipped.
    """

    def __init__(self, traces: Traces) -> None:
        super().__init__(traces)
        self.dense = DenseForm(PlainTraces(traces))

    def run(self, net: nn.Module, x: torch.Tensor, patches: Chosen, precision: str = 'float32') -> torch.Tensor:
        """What the network gives, without gradients, for (B, C, H, W) on the CPU.

        Args:
            patches: of the batch.
            precision: 'float32' or 'bfloat16', of features and products.

        Raises:
            UserError: the network cannot be read, the kernels lack something, or are not there.
        """
        with undisturbed():
            images, modules = images_of(x), self.modules(net)
            parts = [self._one(net, modules, image, number, patches, precision)
                     for number, image in enumerate(images)]
            return torch.cat(parts).to(x.dtype) if len(parts) > 1 else parts[0].to(x.dtype)

    def _one(self, net: nn.Module, modules: Modules, x: torch.Tensor, number: int, patches: Chosen,
             precision: str) -> torch.Tensor:
        graph = self.traces.graph(net, x)
        schedule = self._schedules.get((id(graph), precision), lambda: UnitsSchedule(graph, precision))
        given = schedule.given(x, number, patches)
        return self.dense.run(net, x, precision) if given is None else schedule.run(net, modules, x, given)

    def image(self, net: nn.Module, x: torch.Tensor, patches: Chosen) -> torch.Tensor | None:
        """The network's image, or None where torch has to run it, see `CalibratedForm.image`."""
        return self.where_it_can(net, x, lambda precision: self.run(net, x, patches, precision))
