"""A program at the active patches: gathers, computes, stage by stage, on any device."""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.backends.interface import Backend, Convolution, Place, Read
from basicsr_amsr.execution.fusion import Epilogue, Fused
from basicsr_amsr.execution.gather import pixel_rows
from basicsr_amsr.execution.graph.ops import Arithmetic, Conv, Op, Resize, Shuffle, Slice
from basicsr_amsr.execution.graph.run_by_torch import Weights, call
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.sparse_program import Program


class Run:
    """One pass. `values` holds rows (see `Layout`), whole maps, or (B, C, 1, 1), as the program's forms say.

    What skipped pixels hold where something reads them is up to who derives from it.

    Args:
        program, net: what is computed, and whose weights are taken.
        x: (B, C, H, W).
        layout: the active patches.
        backend: what convolves.
    """

    def __init__(self, program: Program, net: nn.Module, x: torch.Tensor, layout: Layout, backend: Backend) -> None:
        self.program, self.layout, self.backend = program, layout, backend
        self.weights, self.size = Weights(net, program.graph), (len(x), *x.shape[2:])
        self.x, self.batch = x, len(x)
        self.values: dict[int, Any] = {0: x}
        self.maps: dict[int, torch.Tensor] = {}
        self.local: dict[int, torch.Tensor] = {}
        self.group, self.part = layout.groups[-1], slice(0, 0)

    def stages(self) -> None:
        """Compute everything."""
        program = self.program
        for number, stage in enumerate(program.stages):
            if program.form(stage[0]) == 'rows':
                self._patch_by_patch(number)
            else:
                for value in stage:
                    self.values[value] = self._whole(value)
            self._release(number)

    def _release(self, number: int) -> None:
        """Give back the memory of values that nobody reads after a stage."""
        program = self.program
        for value in list(self.values):
            if program.last_use[value] <= number and value not in (program.anchor, program.output) and (
                    program.stage_of[value] <= number):
                done = self.values.pop(value)
                self.maps.pop(value, None)
                if program.form(value) == 'rows' and len(done) > self.layout.zero(program.scale(value)):
                    self.layout.spare.setdefault((*done.shape, done.dtype), []).append(done)

    def _patch_by_patch(self, number: int) -> None:
        program = self.program
        for group in self.layout.groups:
            self.group = group
            step = group.chunk(max((program.numbers(value, group.size) for value in program.stages[number]
                                    if value not in program.on_demand), default=1))
            for start in range(0, group.count, step):
                self.part, self.local = slice(start, min(start + step, group.count)), {}
                for each in program.steps[number]:
                    self._run(each)
        self.local = {}

    def _run(self, each: Fused) -> None:
        """A value's rows at the part's patches."""
        value, keep = each.value, each.value in self.program.kept
        view = isinstance(self.program.graph.ops[value - 1], Slice)  # of memory that is used again
        if keep and not view and self._is_whole() and self.program.contexts.get(value, (0, 0)) == (0, 0):
            self.values[value] = self.local[value] = self._rows(each)  # nothing else is stored with them
        elif not keep or each.conv is None:
            self.local[value] = self._rows(each)
            if keep:
                self._room(value, self.local[value].dtype).copy_(self.local[value])
        else:
            place = Place(lambda dtype: self._room(value, dtype))
            self.local[value] = self._convolve(each.conv, each.epilogue, place)

    def _is_whole(self) -> bool:
        """Whether the part holds all patches."""
        return len(self.layout.groups) == 1 and self.part == slice(0, self.group.count)

    def _rows(self, each: Fused) -> torch.Tensor:
        """A value's rows at the part's patches, (n, C)."""
        if each.conv is not None:
            return self._convolve(each.conv, each.epilogue, None)
        return self._compute(each.value).reshape(-1, self.program.channels(each.value))

    def _compute(self, value: int) -> torch.Tensor:
        """A value's rows at the part's patches, perhaps with more dimensions, not contiguous."""
        op, size = self.program.graph.ops[value - 1], self.group.size * self.program.scale(value)
        if isinstance(op, (Shuffle, Resize)):
            factor = op.factor if isinstance(op, Shuffle) else int(op.factors[0])  # type: ignore[index]
            return enlarged(self._read(op.inputs[0], size // factor), size // factor, factor, isinstance(op, Shuffle))
        if isinstance(op, Slice):
            return self._read(op.inputs[0], size).narrow(1, op.start, self.program.channels(value))  # type: ignore[arg-type]
        return self._call(value, {i: self._operand(op, i, size) for i in op.inputs})[..., 0, 0]

    def _operand(self, op: Op, value: int, size: int) -> torch.Tensor:
        """A value's rows as an op takes them, (n, C, 1, 1); what one image alone has is broadcast."""
        if isinstance(op, Arithmetic) and self.program.form(value) == 'image' and len(self.values[value]) == 1:
            return self.values[value]
        return self._read(value, size)[..., None, None]

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
        epilogue = epilogue.bound(self.weights)
        if isinstance(epilogue.added, int):
            epilogue = epilogue._replace(added=self._source(epilogue.added, size))
        return self.backend.convolve(conv, reads, size, epilogue, place)

    def _read(self, value: int, size: int) -> torch.Tensor:
        """A value's rows at the part's patches, from wherever they are."""
        return self._source(value, size).fetch()

    def _source(self, value: int, size: int) -> Read:
        """A reader of a value's rows at the part's patches."""
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
            values = self.values[value].flatten(1).expand(self.batch, -1)
            return Read(values, layout.images(size, self.group, self.part))
        own = layout.gather(False, scale, (range(size), range(size)), self.group, self.part)
        return Read(self._map_rows(value), own)

    def _around(self, value: int, offsets: tuple[range, range]) -> Read:
        """A reader of a value's rows at offsets from the part's patches; 0 outside the image."""
        kept = self.program.form(value) == 'rows'
        rows = self.values[value] if kept else self._map_rows(value)
        return Read(rows, self.layout.gather(kept, self.program.scale(value), offsets, self.group, self.part))

    def _map_rows(self, value: int) -> torch.Tensor:
        if value not in self.maps:
            values = self.values[value]
            self.maps[value] = pixel_rows(values.expand(self.batch, *values.shape[1:]))
        return self.maps[value]

    def _room(self, value: int, dtype: torch.dtype) -> torch.Tensor:
        """The memory for the part's rows of a value; the first call allocates it for all parts, with its band."""
        if value not in self.values:
            self.values[value] = self._space(value, dtype)
        return self.values[value][self.group.rows(self.program.scale(value), self.part)]

    def _space(self, value: int, dtype: torch.dtype) -> torch.Tensor:
        """Room for a value's rows, and behind them what is read of others: 0 at last."""
        layout, scale = self.layout, self.program.scale(value)
        shape = (layout.zero(scale) + 1, self.program.channels(value))
        spare = layout.spare.get((*shape, dtype))
        if spare:  # used memory need not be paged in
            return spare.pop()
        return torch.zeros(shape, dtype=dtype, device=layout.device)

    def _whole(self, value: int) -> Any:
        """A value that is known everywhere, or for each image."""
        raise NotImplementedError


def enlarged(rows: torch.Tensor, size: int, factor: int, shuffle: bool) -> torch.Tensor:
    """Rows of patches of that side as those of patches whose side is multiplied; a view (patches, …, C), so that they
    are copied once, to where they are kept."""
    channels = rows.shape[1] // (factor**2 if shuffle else 1)
    if shuffle:
        return rows.view(-1, size, size, channels, factor, factor).permute(0, 1, 4, 2, 5, 3)
    return rows.view(-1, size, 1, size, 1, channels).expand(-1, size, factor, size, factor, channels)
