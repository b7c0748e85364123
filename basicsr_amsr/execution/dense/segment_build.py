"""Declares the units of a segment as a native program: maps, storage by liveness, methods, steps."""
from __future__ import annotations

from typing import Any

import torch

from basicsr_amsr.execution.dense.fold import fold, folded, mend
from basicsr_amsr.execution.dense.grids import Grids
from basicsr_amsr.execution.dense.kept_in_float32 import residuals, winograd_is_faster
from basicsr_amsr.execution.dense.operands import constants, is_elementwise
from basicsr_amsr.execution.dense.passes import How, Pass, passes_of, reads_of, stages_of
from basicsr_amsr.execution.dense.scatter import scatter
from basicsr_amsr.execution.dense.segments import Segment
from basicsr_amsr.execution.dense.unit_steps import Constants, steps_of
from basicsr_amsr.execution.dense.units import Half, Unit, units_of
from basicsr_amsr.execution.dense.weights import enlarged, enlarged_kernel, phases_of
from basicsr_amsr.execution.graph.ops import (
    AdaptiveMaxPool,
    Concat,
    Conv,
    Graph,
    LayerNorm,
    Mean,
    Op,
    Pool,
    Resize,
    Slice,
    Zero,
)
from basicsr_amsr.execution.graph.run_by_torch import Weights
from basicsr_amsr.execution.graph.sizes import at
from basicsr_amsr.execution.native.check_program import MOST_SOURCES
from basicsr_amsr.execution.native.maps import TYPES, Map, Patches, channels_of
from basicsr_amsr.execution.native.maps import Slice as Channels
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from basicsr_amsr.execution.native.steps import add_vector, multiply_vector
from basicsr_amsr.execution.native.tables import Layout


class Build:
    """A segment as a native program.

    Args:
        graph, segment: what is run.
        constants_of: weights and constant values, as they are when they are asked for.
        precision: 'float32' or 'bfloat16'; images, means and what is computed of them stay float32.

    Attributes:
        program: as declared.
        images: the planar maps: values that are read and written. size: that of the image, from which all sizes follow.
        folds: units of which `mend` has something to do.
    """

    apart = False  # see `Grids`

    def __init__(self, graph: Graph, segment: Segment, constants_of: Constants, precision: str) -> None:
        self.graph, self.segment, self.constants, self.precision = graph, segment, constants_of, precision
        self.fixed = constants(graph)
        self.program = Program()
        self._lists()
        self.grids = Grids(graph, self.program, self.apart)
        self.grids.learn([*segment.inputs, *(number + 1 for number in segment.ops)])
        self.exact: set[int] = set()
        self.units = self._units()
        self.folds = [unit for unit in self.units if unit.fold]
        self.places: dict[int, list[Channels]] = {}
        self.images: dict[int, Map] = {}
        self.owned: dict[int, Map] = {}
        self.blocks: dict[int, Map] = {}
        self.unused: dict[tuple[Any, ...], list[Map]] = {}
        passes = self._passes()
        self.pass_of = {unit.value: number for number, each in enumerate(passes) for unit in each.units}
        self.last, self.local = self._last_passes(passes)
        self.size = self.program.image(at(graph.image[1], graph.traced), name='the image, for its size')
        for value in segment.inputs:
            self.images[value] = self._image(value)
        for value in segment.inputs:
            self._load(value)
        number = 0
        for stage in stages_of(passes, self.reads):
            with self.program.stage():
                for each in stage:
                    self._declare(number, each)
                    self._behind(number)
                    number += 1
            self._between()
        for value in segment.outputs:
            if value not in self.images:
                self._store(value)

    # what other forms do otherwise

    def _lists(self) -> None:
        """Declares lists of patches."""

    def _units(self) -> list[Unit]:
        """The units, in the order in which they run."""
        outputs = set(self.segment.outputs)
        units = units_of(self.graph, list(self.segment.ops), outputs, self.fixed, self._maps())
        units = scatter(self.graph, self._folded(units), outputs, self._scale)
        if self.precision == 'bfloat16':
            self.exact = residuals(self.graph, units, self.fixed, self.bases)
        return units

    def _folded(self, units: list[Unit]) -> list[Unit]:
        return fold(self.graph, units, set(self.segment.outputs), self.fixed)

    def _maps(self) -> set[int]:
        """Values that have to be maps, not what an operator has on the way."""
        return set()

    def _passes(self) -> list[Pass]:
        return passes_of(self.units, self.reads, self._patches)

    def where(self, value: int) -> Patches:
        """On which patches a value is computed."""
        return self.program.every_patch(self._geometry(value)[1]['grid'])

    def _copy(self, value: int, parts: list[Channels], whole: Map) -> None:
        """Copies what a value is made of into one map."""
        at = 0
        for part in parts:
            self.program.pointwise(part, whole[at:at + part.channels])
            at += part.channels

    def _before(self, number: int, each: Pass) -> None:
        """Declares what precedes a pass in its stage."""

    def _behind(self, number: int) -> None:
        """Declares what follows a pass in its stage."""

    def _between(self) -> None:
        """Declares what follows a stage."""

    # values and where they are

    def place(self, value: int) -> list[Channels]:
        """Where a value's channels are."""
        if value not in self.places:
            op = self.graph.ops[value - 1]
            if isinstance(op, Concat | Zero):
                self.places[value] = [part for each in op.inputs for part in self.place(each)]
            else:
                assert isinstance(op, Slice) and isinstance(op.start, int) and isinstance(op.shape[1], int)
                self.places[value] = _part(self.place(op.inputs[0]), op.start, op.shape[1])
        return self.places[value]

    def bases(self, value: int) -> set[int]:
        """The values whose channels a value is put together from; itself where it is a map of its own."""
        op = self.graph.ops[value - 1] if value > 0 else None
        if value in self.segment.inputs or not isinstance(op, (Concat, Slice, Zero)):
            return {value}
        return {base for each in op.inputs for base in self.bases(each)}

    def is_step(self, op: Op) -> bool:
        """Whether an op is steps of an operator."""
        return is_elementwise(self.graph, op, self.fixed)

    def single(self, value: int) -> Channels:
        """A value in one map, copied where it is not."""
        parts = self.place(value)
        if len(parts) > 1:
            whole = self._new(value)
            self._copy(value, parts, whole)
            self.places[value] = parts = [channels_of(whole)]
        return parts[0]

    def reads(self, unit: Unit) -> list[tuple[int, How]]:
        """The values that a unit reads, and how; where one is put together from others, those as well."""
        return [(base, how) for value, how in reads_of(self.graph, unit, self.fixed)
                for base in {value, *self.bases(value)}]

    def _patches(self, unit: Unit) -> Patches:
        return self.where(unit.source if self._is_mean(unit) else unit.result)

    def _scale(self, value: int) -> int:
        where = self._geometry(value)[1]
        return where['scale'] if where['grid'] is self.program.image_grid else 0

    def _is_mean(self, unit: Unit) -> bool:
        return isinstance(self.graph.ops[unit.ops[0]], Mean)

    def _last_passes(self, passes: list[Pass]) -> tuple[dict[int, int], set[int]]:
        """For each value that is read from a map, the last pass that does (their number where it is an output too), and
        the values that live within one pass."""
        last: dict[int, int] = {}
        apart = set(self.segment.inputs)
        for number, each in enumerate(passes):
            for unit in each.units:
                for value, how in self.reads(unit):
                    last[value] = number
                    if how > How.PIXEL or self.pass_of.get(value) != number:
                        apart.add(value)
                if self._is_mean(unit) or self._patches(unit).grid is not self.program.image_grid:
                    apart.add(unit.value)
        for unit in self.folds:  # whose border is computed at the end
            last.update(dict.fromkeys(self.bases(unit.source), len(passes)))
        for value in self.segment.outputs:
            if value not in self.pass_of or value in last:
                last.update(dict.fromkeys({value, *self.bases(value)}, len(passes)))
                apart |= {value, *self.bases(value)}
        return last, set(last) - apart

    def _geometry(self, value: int) -> tuple[int, dict[str, Any], str]:
        _, channels, height, width = self.graph.shape(value)
        channels = at(channels, self.graph.traced)  # sympy does not see through every division
        grid, scale = self.grids.find(height, width)
        feature = channels > 4 and (height, width) != (1, 1)
        rounded = feature and value not in self.exact
        return channels, {'grid': grid, 'scale': scale}, self.precision if rounded else 'float32'

    def _image(self, value: int) -> Map:
        channels, where, _ = self._geometry(value)
        return self.program.image(channels, name=f'value {value}', **where)

    def _new(self, value: int) -> Map:
        """A map for a value, in memory that is not needed any more where there is some."""
        channels, where, dtype = self._geometry(value)
        made = Map(0, where['grid'], where['scale'], channels, -(-channels // 16) * 16 if channels > 4 else channels,
                   TYPES[dtype], Layout.NHWC, 0)
        share = self._share(value, self.unused.get((*_key(made), self._is_zeroed(value)), []))
        self.owned[value] = self.program.map(channels, dtype=dtype, share=share, name=f'value {value}', **where)
        return self.owned[value]

    def _share(self, value: int, unused: list[Map]) -> Map | None:
        """Takes a map whose memory a value may have."""
        return unused.pop(0) if unused else None

    def _is_zeroed(self, value: int) -> bool:
        """Whether a value's map is 0 at skipped pixels; such maps share memory with one another alone."""
        return False

    def _load(self, value: int) -> None:
        """An image into a map that convolutions can read."""
        if value in self.last:
            into = self._new(value)
            self.program.pointwise(self.images[value], into)
            self.places[value] = [channels_of(into)]

    def mend(self, runner: Runner, weights: Weights, values: list[Any]) -> None:
        """Compute the outermost pixels of pictures by torch, which a folded convolution gets wrong (fold.py)."""
        for unit in self.folds:
            views = [runner.view(part.map)[..., part.first:part.first + part.channels]
                     for part in self.place(unit.source)]
            source = (views[0] if len(views) == 1 else torch.cat(views, 2)).permute(2, 0, 1)
            mend(self.graph, unit, weights, source, values[unit.value][0])

    # units

    def _declare(self, number: int, each: Pass) -> None:
        around = {self.owned[value].storage for unit in each.units for value, how in self.reads(unit)
                  if how > How.PIXEL and value in self.owned}
        for unit in each.units:  # what is copied for a reader of neighbours is copied before
            if any(how > How.PIXEL for _, how in self.reads(unit)):
                self._sources(unit, self.graph.ops[unit.ops[0]])
        self._before(number, each)
        with self.program.fused(each.patches):
            for unit in each.units:
                head = self.graph.ops[unit.ops[0]]
                if unit.half == Half.PRODUCTS:
                    self._scatter(unit, head)
                    continue
                sources = [] if unit.half == Half.SUMS else self._sources(unit, head)
                steps = steps_of(self, unit)
                busy = around | {part.map.storage for part in sources}
                later = {value for one in each.units[each.units.index(unit) + 1:] for value, _ in self.reads(one)}
                for value in list(self.owned):  # what is read pixel by pixel for the last time may be written over
                    if self.last.get(value, -1) <= number and value not in later and (
                            self.owned[value].storage not in busy):
                        self._free(value)
                if unit.value in self.last:
                    out = self._local(unit.value) if unit.value in self.local else self._new(unit.value)
                    self.places[unit.value] = [channels_of(out)]
                else:
                    out = self.images[unit.value] = self._image(unit.value)
                if unit.half == Half.SUMS:
                    self._gather(unit, head, steps, out)
                else:
                    self._emit(unit, head, sources, steps, out)
        for value in list(self.owned):
            if self.last.get(value, -1) <= number:
                self._free(value)

    def _local(self, value: int) -> Map:
        channels, where, dtype = self._geometry(value)
        return self.program.local(channels, dtype=dtype, name=f'value {value}', **where)

    def _free(self, value: int) -> None:
        if value in self.owned:
            one = self.owned.pop(value)
            self.unused.setdefault((*_key(one), self._is_zeroed(value)), []).append(one)

    def _store(self, value: int) -> None:
        """A value that is needed outside into an image."""
        image = self.images[value] = self._image(value)
        at = 0
        for part in self.place(value):
            self.program.pointwise(part, image[at:at + part.channels], patches=self._stored(value))
            at += part.channels

    def _stored(self, value: int) -> Patches:
        """On which patches a value is needed outside."""
        return self.where(value)

    def _sources(self, unit: Unit, head: Op) -> list[Channels]:
        parts = self.place(unit.source)
        many = isinstance(head, Conv) and head.groups == 1 and len(parts) <= MOST_SOURCES
        return parts if many else [self.single(unit.source)]

    def _scatter(self, unit: Unit, op: Op) -> None:
        assert isinstance(op, Conv)
        source = self.single(unit.source)
        self.blocks[unit.value] = self.program.blocks(self._scale(unit.source), name=f'blocks of value {unit.result}')
        self.program.scatter(source, self.constants.weight(op.weight), self.blocks[unit.value],
                             outputs=self.graph.weights[op.weight].shape[0], compute=_dtype(source.map))

    def _gather(self, unit: Unit, op: Op, steps: list, out: Map) -> None:
        assert isinstance(op, Conv)
        bias = [add_vector(self.constants.weight(op.bias))] if op.bias else []
        self.program.gather(self.blocks[-unit.result], out, steps=[*bias, *steps])

    def _emit(self, unit: Unit, head: Op, sources: list[Channels], steps: list, out: Map) -> None:
        if isinstance(head, Conv):
            self._conv(unit, head, sources, steps, out)
        elif isinstance(head, Mean):
            self.program.mean(sources[0], out)
        elif isinstance(head, LayerNorm):
            factors = [multiply_vector(self.constants.weight(head.weight))] if head.weight else []
            summands = [add_vector(self.constants.weight(head.bias))] if head.bias else []
            self.program.layer_norm(sources[0], out, eps=head.eps, steps=[*factors, *summands, *steps])
        elif isinstance(head, AdaptiveMaxPool):
            self.program.adaptive_max_pool(sources[0], out, steps=steps)
        elif isinstance(head, Resize):
            ratio = None if head.factors is None else (1 / head.factors[0], 1 / head.factors[1])
            self.program.resample(sources[0], out, mode=head.mode, steps=steps, ratio=ratio)
        elif isinstance(head, Pool):
            self.program.max_pool(sources[0], out, kernel=head.kernel[0], stride=head.stride[0],
                                  padding=head.padding[0], steps=steps)
        elif unit.shuffle > 1:  # a shuffle by itself
            channels = sources[0].channels
            self.program.conv(sources, torch.eye(channels).view(channels, channels, 1, 1), None, out, kernel=1,
                              out_channels=channels, shuffle=unit.shuffle, steps=steps,
                              compute=_dtype(sources[0].map))
        else:
            self.program.pointwise(sources[0], out, steps=steps)

    def _winograd(self, unit: Unit) -> str:
        """The name of the Winograd form that a convolution takes."""
        return 'winograd'

    def _conv(self, unit: Unit, op: Conv, sources: list[Channels], steps: list, out: Map) -> None:
        weight, bias = self.constants.weight(op.weight), self.constants.maybe(op.bias)
        shape = self.graph.weights[op.weight].shape
        channels, kernel, padding, shuffle = op.shape[1], int(shape[2]), op.padding[0], unit.shuffle
        assert isinstance(channels, int)
        if unit.fold:
            weight, bias = folded(unit.fold, lambda name: self.constants.weight(name)())
            channels, kernel, padding = channels * shuffle ** 2, 5, 2
        elif op.transposed:
            shuffle = op.stride[0]
            weight, bias, kernel, padding = phases_of(weight, bias, shuffle, padding, shape)
            channels *= shuffle ** 2
        elif unit.enlarged > 1:
            weight, bias = enlarged(weight, bias, unit.enlarged, kernel)
            channels, kernel, padding = channels * unit.enlarged ** 2, *enlarged_kernel(unit.enlarged, kernel)
        elif unit.shuffle > 1:
            channels = shape[0]
        if 1 < op.groups == channels == sources[0].channels:
            self.program.depthwise(sources[0], weight, bias, out, kernel=kernel, stride=op.stride[0], padding=padding,
                                   steps=steps)
            return
        inputs = sum(source.channels for source in sources) // op.groups
        stride = 1 if op.transposed else op.stride[0]
        exact = bool(self.exact & self.bases(unit.source))
        feature = exact or any(_dtype(source.map) == 'bfloat16' for source in sources)
        # what a residual network's upsampler rounds is in the picture as it is: EDSR_baseline is 2.6 dB nearer so
        upsamples = exact and unit.shuffle > 1
        fits = winograd_is_faster((kernel,) * 2, (stride,) * 2, inputs, channels // op.groups)
        self.program.conv(sources, weight, bias, out, out_channels=channels, kernel=kernel, stride=stride,
                          padding=padding, groups=op.groups, shuffle=shuffle, steps=steps,
                          method=self._winograd(unit) if fits and not upsamples else 'direct',
                          compute='bfloat16' if feature else 'float32')


def _key(one: Map) -> tuple[Any, ...]:
    return id(one.grid), one.scale, one.pixel, one.type


def _dtype(one: Map) -> str:
    return 'bfloat16' if one.bytes_each == 2 else 'float32'


def _part(parts: list[Channels], start: int, channels: int) -> list[Channels]:
    """Channels [start, start + channels) of several places, counted as if these were concatenated."""
    found, at = [], 0
    for part in parts:
        first, end = max(start, at), min(start + channels, at + part.channels)
        if first < end:
            found.append(Channels(part.map, part.first + first - at, end - first))
        at += part.channels
    return found
