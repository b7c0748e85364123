"""Averages over the image in two steps, as skipped pixels are not there when active ones are summed."""
from __future__ import annotations

from typing import Any

from basicsr_amsr.execution.dense.segment_build import Build
from basicsr_amsr.execution.dense.units import Unit
from basicsr_amsr.execution.graph.ops import Mean, Op
from basicsr_amsr.execution.native.maps import Map
from basicsr_amsr.execution.native.maps import Slice as Channels


class AveragesOfActive(Build):
    """Declares averages: the active pixels' part in the pass that computes them, the whole after the stage."""

    def __init__(self, *args: Any) -> None:
        self._averages: list[tuple[Unit, Map, Map]] = []
        super().__init__(*args)

    def _is_of_active(self, unit: Unit, mean: Mean) -> bool:
        """Whether an average reads a value that is known at active pixels alone."""
        raise NotImplementedError

    def _complete(self, unit: Unit, computed: Map, out: Map) -> None:
        """Declares how `out` is made of the part of the active pixels, `computed`."""
        raise NotImplementedError

    def _emit(self, unit: Unit, head: Op, sources: list[Channels], steps: list, out: Map) -> None:
        if isinstance(head, Mean) and self._is_of_active(unit, head):
            computed = self.program.map(out.channels, grid=out.grid, name=f'active part of value {unit.value}')
            self.program.mean(sources[0], computed)
            self._averages.append((unit, computed, out))
        else:
            super()._emit(unit, head, sources, steps, out)

    def _between(self) -> None:
        for unit, computed, out in self._averages:
            self._complete(unit, computed, out)
        self._averages.clear()
