"""A program at the active patches: gathers, computes, and writes the image, on any device."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.active import Gather, pixel_rows
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.backends.interface import Backend, Convolution, Place, Read
from basicsr_amsr.execution.fusion import BoundOp, Epilogue, Fused, fused
from basicsr_amsr.execution.graph.ops import Conv, Resize, Shuffle, Slice
from basicsr_amsr.execution.graph.run_by_torch import Weights, call
from basicsr_amsr.execution.precision import in_full_precision
from basicsr_amsr.execution.region.layout import Layout
from basicsr_amsr.execution.region.masked import before_anchor
from basicsr_amsr.execution.region.patches import Patches
from basicsr_amsr.execution.region.prediction import LightTail, Prediction, rectified
from basicsr_amsr.execution.region.region_program import Program
from basicsr_amsr.execution.uncompiled import uncompiled


@uncompiled  # the numbers of patches are data: nothing of it can be traced
@torch.no_grad()
def run_sparse(program: Program, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, size: int,
               prediction: Prediction, backend: str = 'torch') -> torch.Tensor:
    """Equals `run_masked`, but computes active patches alone. For inference only.

    Args:
        program, net, x, patches, size, prediction: as in `run_masked`. A size of 1 is single pixels.
        backend: 'torch', 'triton' or 'auto', see `backend_for`.

    Returns:
        (B, C, scale · H, scale · W), channels-last.
    """
    run = _Run(program, net, x, patches, size, prediction, backend_for(backend, x.device))
    run.stages()
    if program.form(program.output) != 'rows':
        return run.values[program.output]
    scale = program.scale(program.output)
    rows = run.values[program.output][:run.layout.rows(scale)]
    image = rows.new_empty(len(x), *run.layout.whole_sides(scale), rows.shape[1])
    run.layout.write_whole(rows, scale, image)
    if prediction.tail is not None:
        write_tail(prediction.tail, x, run.values[program.anchor], ~patches, size, image)
    return image.permute(0, 3, 1, 2)[:, :, :x.shape[2] * scale, :x.shape[3] * scale]


def write_tail(tail: LightTail, x: torch.Tensor, anchor: torch.Tensor, patches: torch.Tensor, size: int,
               image: torch.Tensor) -> None:
    """Write the light tail's pixels of the skipped `patches` into an image of whole patches (B, height, width, C)."""
    reach, scale = tail.border, tail.scale
    padded = tail.padded(x)
    seen, features = pixel_rows(padded), pixel_rows(anchor)
    skipped = Patches(patches, size, x.shape[2], x.shape[3])
    wide = Patches(patches, size, padded.shape[2], padded.shape[3]) if reach else skipped
    place = skipped.own(1)
    around = _clamped(wide, size, reach)
    rows = image.new_empty(skipped.count * skipped.area(scale), image.shape[3])
    step = skipped.chunk((size + 2 * reach)**2 * anchor.shape[1])
    for start in range(0, skipped.count, step):
        part = slice(start, start + step)
        squares = seen[around[part]].view(-1, size + 2 * reach, size + 2 * reach, x.shape[1]).permute(0, 3, 1, 2)
        values = pixel_rows(F.conv2d(squares, tail.image))
        feature = features.index_select(0, place[part].flatten())
        values = values + tail.feature.linear(feature)
        enlarged = _enlarged(values, size, scale, shuffle=True)
        rows[start * (size * scale)**2:][:len(values) * scale**2].view(enlarged.shape).copy_(enlarged)
    skipped.write_whole(rows, scale, image)


def _clamped(wide: Patches, size: int, reach: int) -> torch.Tensor:
    """Positions (patches, (size + 2·reach)²) in the padded image; where a patch goes beyond it, of its last pixels."""
    step = torch.arange(size + 2 * reach, device=wide.device)
    y = ((wide.row * size)[:, None] + step).clamp(max=wide.height - 1)
    x = ((wide.col * size)[:, None] + step).clamp(max=wide.width - 1)
    return (((wide.image * wide.height)[:, None] + y)[:, :, None] * wide.width + x[:, None, :]).flatten(1)


class _Run:
    """One pass. `values` holds rows (see `Layout`), whole maps, or (B, C, 1, 1), as the program's forms say."""

    def __init__(self, program: Program, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, size: int,
                 prediction: Prediction, backend: Backend) -> None:
        self.program, self.prediction, self.backend = program, prediction, backend
        self.weights, self.size = Weights(net, program.graph), (len(x), *x.shape[2:])
        self.calls = [BoundOp(op, self.weights) for op in program.graph.ops]
        self.layout = Layout(patches, size, x.shape[2], x.shape[3], program.halo, backend.whole)
        self.x, self.batch = x, len(x)
        self.values: dict[int, Any] = {0: x}
        self.spare: dict[Any, list[torch.Tensor]] = {}  # memory of values that are done
        self.maps: dict[int, torch.Tensor] = {}
        self.local: dict[int, torch.Tensor] = {}
        self.group, self.part = self.layout.groups[-1], slice(0, 0)
        self.band: torch.Tensor | None = None  # features of its pixels
        self.rest: torch.Tensor | None = None  # of the skipped pixels
        self.rest_sums: torch.Tensor | None = None  # their sums over each image

    def stages(self) -> None:
        """Compute everything."""
        program = self.program
        for number, stage in enumerate(program.stages):
            if program.form(stage[0]) == 'rows':
                self._patch_by_patch(stage)
            else:
                for value in stage:
                    self.values[value] = self._whole(value)
            for value in list(self.values):
                if program.last_use[value] <= number and value not in (program.anchor, program.output) and (
                        program.stage_of[value] <= number):
                    done = self.values.pop(value)
                    self.maps.pop(value, None)
                    if program.form(value) == 'rows':
                        self.spare.setdefault((*done.shape, done.dtype), []).append(done)
            wanted = {(self.layout.zero(scale) + 1, channels) for scale, channels in program.later_shapes[number]}
            self.spare = {key: spare for key, spare in self.spare.items() if key[:2] in wanted}

    def _patch_by_patch(self, stage: list[int]) -> None:
        program = self.program
        number = program.stage_of[stage[0]]
        stage = [value for value in stage if value not in program.on_demand]
        kept = [value for value in stage if program.last_use[value] > number or value == program.output]
        todo = fused(stage, program.operations, self.calls, program.readers, kept)
        for group in self.layout.groups:
            self.group = group
            step = group.chunk(max((program.numbers(value, group.size) for value in stage), default=1))
            for start in range(0, group.count, step):
                self.part, self.local = slice(start, min(start + step, group.count)), {}
                for each in todo:
                    self._run(each, each.value in kept)
        for value in kept:
            if value not in self.values:  # no patch is active
                self.values[value] = self._space(value, self.values[program.anchor].dtype)
        self.local = {}

    def _run(self, each: Fused, keep: bool) -> None:
        """A value's rows at the part's patches."""
        value = each.value
        if each.conv is None:
            rows = self._compute(value)
            if keep:
                room = self._room(value, rows.dtype)
                room.view(rows.shape).copy_(rows)
                self.local[value] = room
            else:
                self.local[value] = rows.reshape(-1, self.program.channels(value))
            return
        place = Place(lambda dtype: self._room(value, dtype)) if keep else None
        self.local[value] = self._convolve(each.conv, each.epilogue, place)

    def _compute(self, value: int) -> torch.Tensor:
        """A value's rows at the part's patches, perhaps with more dimensions, not contiguous."""
        op, size = self.program.graph.ops[value - 1], self.group.size * self.program.scale(value)
        if isinstance(op, (Shuffle, Resize)):
            factor = op.factor if isinstance(op, Shuffle) else int(op.factors[0])  # type: ignore[index]
            return _enlarged(self._read(op.inputs[0], size // factor), size // factor, factor, isinstance(op, Shuffle))
        if isinstance(op, Slice):
            return self._read(op.inputs[0], size).narrow(1, op.start, self.program.channels(value))  # type: ignore[arg-type]
        return self._call(value, {i: self._read(i, size)[..., None, None] for i in op.inputs})[..., 0, 0]

    def _call(self, value: int, given: dict[int, Any]) -> Any:
        """The result of an op, given its inputs."""
        return call(self.program.graph.ops[value - 1], given, self.weights, self.size, self.x)

    def _convolve(self, value: int, epilogue: Epilogue, place: Place | None) -> torch.Tensor:
        op, reach = self.program.graph.ops[value - 1], self.program.facts[value].reach
        assert isinstance(op, Conv)
        conv = Convolution(self.weights[op.weight], self.weights.get(op.bias), op.dilation, op.groups)
        size = self.group.size * self.program.scale(value)
        parts = self.program.parts(op.inputs[0])
        if reach == (0, 0):
            reads = [self._source(part, size) for part in parts]
        else:
            rows, cols = (range(-r, size + r, dilation if size == 1 else 1)
                          for r, dilation in zip(reach, conv.dilation, strict=True))
            reads = [self._around(part, (rows, cols)) for part in parts]
        if epilogue.added is not None:
            epilogue = epilogue._replace(added=self._source(epilogue.added, size))
        return self.backend.convolve(conv, reads, size, epilogue, place)

    def _read(self, value: int, size: int) -> torch.Tensor:
        """A value's rows at the part's patches, from wherever they are."""
        return self._source(value, size).fetch()

    def _source(self, value: int, size: int) -> Read:
        """Where a value's rows at the part's patches are."""
        if value in self.local:
            return Read(self.local[value])
        program, layout = self.program, self.layout
        if value in program.on_demand:
            self.local[value] = torch.cat([self._read(part, size) for part in program.parts(value)], 1)
            return Read(self.local[value])
        scale = program.scale(value)
        if program.form(value) == 'rows':
            return Read(self.values[value][self.group.rows(scale, self.part)])
        if program.form(value) == 'image':
            image = self.group.image[self.part].repeat_interleave(size**2)
            values = self.values[value].flatten(1)
            return Read(values.expand(self.batch, -1), Gather(image))
        own = layout.gather(False, scale, (range(size), range(size)), self.group, self.part)
        return Read(self._map_rows(value), own)

    def _around(self, value: int, offsets: tuple[range, range]) -> Read:
        """Where a value's rows at offsets from the part's patches are; 0 outside the image."""
        kept = self.program.form(value) == 'rows'
        rows = self.values[value] if kept else self._map_rows(value)
        return Read(rows, self.layout.gather(kept, self.program.scale(value), offsets, self.group, self.part))

    def _map_rows(self, value: int) -> torch.Tensor:
        if value not in self.maps:
            values = self.values[value]
            self.maps[value] = pixel_rows(values.expand(self.batch, *values.shape[1:]))
        return self.maps[value]

    def _room(self, value: int, dtype: torch.dtype) -> torch.Tensor:
        """Where the part's rows of a value are stored; with the first ones comes its band."""
        if value not in self.values:
            self.values[value] = self._space(value, dtype)
        return self.values[value][self.group.rows(self.program.scale(value), self.part)]

    def _space(self, value: int, dtype: torch.dtype) -> torch.Tensor:
        """Room for a value's rows, its predicted ones written."""
        layout, scale = self.layout, self.program.scale(value)
        shape = (layout.zero(scale) + 1, self.program.channels(value))
        spare = self.spare.get((*shape, dtype))
        # Used memory need not be paged in.
        space = spare.pop() if spare else torch.empty(shape, dtype=dtype, device=layout.patches.device)
        if self.program.contexts.get(value, (0, 0)) != (0, 0):
            if len(layout.band):
                if self.band is None:
                    self.band = self._features(layout.band)
                space[layout.rows(scale):-1] = self.prediction.contexts[value].rows(self.band)
            space[-1] = 0
        return space

    def _features(self, positions: torch.Tensor) -> torch.Tensor:
        """The features of anchor pixels that predictions are made from, row by row."""
        return rectified(self._map_rows(self.program.anchor).index_select(0, positions))

    def _whole(self, value: int) -> Any:
        """A value that is known everywhere, or for each image."""
        inputs = self.program.inputs(value)
        if value <= self.program.anchor:
            return before_anchor(self.program, value, self.weights, {i: self.values[i] for i in inputs}, self.x)
        if self.program.facts[value].kind == 'pool' and self.program.form(inputs[0]) == 'rows':
            return self._average(inputs[0])
        return self._call(value, {i: self._complete(i) if self.program.form(i) == 'rows' else self.values[i]
                                  for i in inputs})

    def _average(self, value: int) -> torch.Tensor:
        """The mean of a value over each image, (B, C, 1, 1): predictions are affine, so is their sum."""
        layout, scale = self.layout, self.program.scale(value)
        rows = self.values[value]
        wide = torch.promote_types(rows.dtype, torch.float32)
        total = layout.sums(rows, scale, wide)
        area = layout.height * layout.width
        if len(layout.skipped):
            affine = self.prediction.contexts[value].to(total)
            sums = self._rest_sums(wide)
            with in_full_precision(sums.device):
                predicted = affine.linear(sums[:, :-1], bias=False) + sums[:, -1:] * affine.bias
            total += predicted.view(self.batch, -1, scale**2).sum(2)
        return (total / (area * scale**2)).to(rows.dtype)[..., None, None]

    def _rest_sums(self, dtype: torch.dtype) -> torch.Tensor:
        """For each image the sum of the features of its skipped pixels, and how many they are."""
        if self.rest_sums is None:
            features, layout = self._rest().to(dtype), self.layout
            self.rest_sums = features.new_zeros(self.batch, features.shape[1] + 1)
            images = layout.skipped // (layout.height * layout.width)
            self.rest_sums[:, :-1].index_add_(0, images, features)
            self.rest_sums[:, -1] = torch.bincount(images, minlength=self.batch)
        return self.rest_sums

    def _rest(self) -> torch.Tensor:
        """The features of skipped pixels."""
        if self.rest is None:
            self.rest = self._features(self.layout.skipped)
        return self.rest

    def _complete(self, value: int) -> torch.Tensor:
        """A value's whole map, (B, C, H, W), with predictions at skipped pixels."""
        layout, scale = self.layout, self.program.scale(value)
        rows = self.values[value]
        channels = self.program.channels(value)
        whole = rows.new_empty(self.batch, layout.height * scale, layout.width * scale, channels)
        flat = whole.view(-1, channels)
        if len(layout.skipped):
            predicted = self.prediction.contexts[value].rows(self._rest())
            flat.index_copy_(0, layout.enlarged(layout.skipped, scale), predicted)
        layout.write(rows[:layout.rows(scale)], scale, flat)
        return whole.permute(0, 3, 1, 2)


def _enlarged(rows: torch.Tensor, size: int, factor: int, shuffle: bool) -> torch.Tensor:
    """Rows of patches of that side as those of patches whose side is multiplied; a view (patches, …, C), so that they
    are copied once, to where they are kept."""
    channels = rows.shape[1] // (factor**2 if shuffle else 1)
    if shuffle:
        return rows.view(-1, size, size, channels, factor, factor).permute(0, 1, 4, 2, 5, 3)
    return rows.view(-1, size, 1, size, 1, channels).expand(-1, size, factor, size, factor, channels)
