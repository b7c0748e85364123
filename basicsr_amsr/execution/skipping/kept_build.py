"""Declares the units of a graph for active patches: skipped pixels keep what goes into a unit, without being copied
where nothing else needs that."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from basicsr_amsr.execution.dense.passes import How, Pass
from basicsr_amsr.execution.dense.segments import Segment
from basicsr_amsr.execution.dense.unit_steps import Constants
from basicsr_amsr.execution.dense.units import Unit
from basicsr_amsr.execution.graph.ops import Mean, Zero
from basicsr_amsr.execution.graph.skipped_units import Units
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.native import steps as native
from basicsr_amsr.execution.native.maps import Grid, Map, Patches
from basicsr_amsr.execution.native.maps import Slice as Channels
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.execution.skipping.averages import AveragesOfActive
from basicsr_amsr.execution.skipping.lists import Lists


class Listed(NamedTuple):
    """The lists of a grid that a program has to be given.

    Attributes:
        value: one on that grid, for its size. scale: pixels a side of its map for each of the grid.
        active: the active patches. band: those of the others that touch active ones. near: both. skipped: all that are
            not active.
    """

    value: int
    scale: int
    active: Patches
    band: Patches
    near: Patches
    skipped: Patches

    def given(self, active: np.ndarray, lists: Lists) -> dict[Patches, np.ndarray]:
        """The contents of the lists for an image whose active patches are bool (⌈height/4⌉, ⌈width/4⌉) of the grid."""
        near = active.copy()
        near[lists.band[:, 0], lists.band[:, 1]] = True
        return {self.active: lists.active, self.band: lists.band, self.skipped: lists.skipped,
                self.near: np.ascontiguousarray(np.argwhere(near), np.int16)}


class KeptBuild(AveragesOfActive):
    """A graph's native segment as a program for listed patches.

    Args:
        rules: of the graph. segment, constants_of, precision: as in `Build`.

    Attributes:
        lists: for each grid on which units are those that the program has to be given.
        gain: number of all pixels over that of the active ones, (1, 1, 1), for each such grid where an average over the
            active ones is read.

    Raises:
        Unreadable: a unit that the kernels do not have as a whole.
    """

    def __init__(self, rules: Units, segment: Segment, constants_of: Constants, precision: str) -> None:
        self.rules = rules
        self.lists: dict[Grid, Listed] = {}
        self.gain: dict[Grid, Map] = {}
        self.kept = {value for value in rules.kept if value - 1 in segment.ops}
        self._gains: dict[Grid, Map] = {}
        self._zeroed: set[int] = set()
        self._ready: dict[int, Map] = {}
        self._taken: dict[int, Map] = {}
        outside = [value for value in (*segment.inputs, *segment.outputs) if value in rules.reach
                   and value not in rules.kept]
        if outside:
            raise Unreadable(f'{rules.graph.name}: the native kernels have not all of a unit: '
                             f'{rules.graph.ops[outside[0] - 1].where}')
        super().__init__(rules.graph, segment, constants_of, precision)

    # what is computed where

    def _maps(self) -> set[int]:
        inside = {value for value in self.segment.ops if isinstance(self.graph.ops[value], Zero)}
        self._zeroed = {base for value in inside for base in self.bases(value + 1)}
        given = {base for value in self.kept for base in self.bases(self.graph.ops[value - 1].inputs[0])}
        return self._zeroed | self.kept | given

    def _listed(self, value: int) -> Listed:
        _, where, _ = self._geometry(value)
        grid = where['grid']
        if grid not in self.lists:
            self.lists[grid] = Listed(value, where['scale'], *(self.program.patches(grid) for _ in range(4)))
        return self.lists[grid]

    def where(self, value: int) -> Patches:
        if value not in self.rules.reach and value not in self.kept:
            return super().where(value)
        reach, scale = self.rules.reach.get(value, 0), self._geometry(value)[1]['scale']
        if reach > PATCH * scale:
            raise Unreadable(f'{self.graph.name}: a unit looks {reach} pixels around, {PATCH * scale} are possible')
        return self._listed(value).near if reach else self._listed(value).active

    def _patches(self, unit: Unit) -> Patches:
        head = self.graph.ops[unit.ops[0]]
        if isinstance(head, Mean) and head.active:
            if self._geometry(unit.source)[1]['scale'] > 1:
                raise Unreadable(f'{self.graph.name}: an average over active pixels of an enlarged map')
            return self._listed(unit.source).active
        return super()._patches(unit)

    def _stored(self, value: int) -> Patches:
        return self.program.every_patch(self._geometry(value)[1]['grid'])

    def _passes(self) -> list[Pass]:
        """The passes, cut so that whatever reads the result of a unit runs after it: only then is the result whole."""
        passes: list[Pass] = []
        for each in super()._passes():
            passes.append(Pass(each.patches))
            for unit in each.units:
                left = {one.value for one in passes[-1].units} & self.kept
                if left.intersection(value for value, _ in self.reads(unit)):
                    passes.append(Pass(each.patches))
                passes[-1].units.append(unit)
        return passes

    def _last_passes(self, passes: list[Pass]) -> tuple[dict[int, int], set[int]]:
        last, local = super()._last_passes(passes)
        kept = set(self.kept)
        last |= dict.fromkeys(kept.intersection(self.segment.outputs), len(passes))
        return last, local - kept - self._zeroed

    # skipped pixels

    def _before(self, number: int, each: Pass) -> None:
        for unit in each.units:
            if unit.value in self.kept:
                start = self.graph.ops[unit.value - 1].inputs[0]
                found = self._in_place(number, each, unit, start)
                if found is not None:
                    self._taken[unit.value] = found
                    continue
                out = self._ready[unit.value] = super()._new(unit.value)
                with self.program.fused(self._listed(unit.value).skipped):
                    self._copy(start, self.place(start), out)
            elif unit.value in self._zeroed:
                storages = self.program.storages
                out = self._ready[unit.value] = super()._new(unit.value)
                if self.program.storages > storages:  # else its last user left zeros
                    with self.program.fused(self._listed(unit.value).band):
                        self.program.pointwise(out, out, steps=[native.clamp(0, 0)])

    def _in_place(self, number: int, each: Pass, unit: Unit, start: int) -> Map | None:
        """The map of a unit's input, where the unit's result may be written over it; else None."""
        own = self.owned.get(start)
        if own is None or self.last.get(start, -1) > number or self.place(start) != [Channels(own, 0, own.channels)]:
            return None
        if (self._geometry(start), self._is_zeroed(start)) != (self._geometry(unit.value), False):
            return None
        if start in self.bases(unit.source):
            return None
        behind = each.units[each.units.index(unit) + 1:]
        for one in each.units:
            for value, how in self.reads(one):
                if value == start and (how > How.PIXEL or one in behind):
                    return None
        return own

    def _new(self, value: int) -> Map:
        return self._ready.pop(value) if value in self._ready else super()._new(value)

    def _share(self, value: int, unused: list[Map]) -> Map | None:
        if value in self._taken:
            own = self._taken.pop(value)
            unused.remove(own)
            return own
        return super()._share(value, unused)

    def _is_zeroed(self, value: int) -> bool:
        return value in self._zeroed

    # averages

    def _is_of_active(self, unit: Unit, mean: Mean) -> bool:
        return mean.active

    def _complete(self, unit: Unit, computed: Map, out: Map) -> None:
        gain = self._gain(self._geometry(unit.source)[1]['grid'], out.grid)
        self.program.conv(gain, torch.ones(out.channels, 1, 1, 1), None, out, kernel=1, out_channels=out.channels,
                          steps=[native.multiply(computed)])

    def _gain(self, grid: Grid, single: Grid) -> Map:
        """A map of one pixel that holds the number of all pixels of a grid over that of the active ones."""
        if grid not in self._gains:
            given = self.gain[grid] = self.program.image(1, grid=single, name='pixels over active ones')
            self._gains[grid] = self.program.map(1, grid=single, name='the same')
            self.program.pointwise(given, self._gains[grid])
        return self._gains[grid]
