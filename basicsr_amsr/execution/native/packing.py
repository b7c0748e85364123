"""Operators as C structs, with weights and vectors packed for the instruction set in use."""
from __future__ import annotations

import ctypes

import numpy as np
import torch

from basicsr_amsr.execution.native.library import Library
from basicsr_amsr.execution.native.operators import Op
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.steps import Values
from basicsr_amsr.execution.native.tables import COp, CPass, CSource, CStep, Layout, OpKind, StepKind, Type

ALIGNED = 64


def aligned(elements: int, dtype: type) -> np.ndarray:
    """A zeroed array that starts at a multiple of 64 bytes."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(elements * size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return raw[start:start + elements * size].view(dtype)


def read(values: Values, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The present float32 values of a tensor, or of a function that returns one."""
    tensor = values() if callable(values) else values
    array = np.ascontiguousarray(tensor.detach().to('cpu', torch.float32).numpy())
    if array.shape != shape:
        raise ValueError(f'{what} has shape {array.shape}, {shape} is needed')
    return array


class Tables:
    """The tables of operators, sources, steps and passes of a program, and the memory that they point to."""

    def __init__(self, program: Program, library: Library) -> None:
        self.library, self.isa = library, library.isa
        self.ops = [op for each in program.passes for op in each.ops]
        sources = [source for op in self.ops for source in op.sources]
        steps = [step for op in self.ops for step in op.steps]
        self.c_ops, self.c_sources = (COp * len(self.ops))(), (CSource * len(sources))()
        self.c_steps, self.c_passes = (CStep * max(len(steps), 1))(), (CPass * len(program.passes))()
        self.counts = {'ops': len(self.ops), 'sources': len(sources), 'steps': len(steps),
                       'passes': len(program.passes)}
        for c_source, one in zip(self.c_sources, sources, strict=True):
            c_source.map, c_source.channel, c_source.channels = one.map.index, one.first, one.channels
        source, step, first = 0, 0, 0
        for number, each in enumerate(program.passes):
            self.c_passes[number] = CPass(first, len(each.ops), each.patches.index, each.stage)
            for op in each.ops:
                self._fill(self.c_ops[first], op, source, step, each.patches.grid is op.out.map.grid)
                source, step, first = source + len(op.sources), step + len(op.steps), first + 1
        self.memory: list[np.ndarray] = []
        self.pack()

    def _fill(self, c: COp, op: Op, source: int, step: int, same_grid: bool) -> None:
        bf16 = op.compute == Type.BFLOAT16 and self.library.has_bf16
        c.kind, c.compute = op.kind, Type.BFLOAT16 if bf16 else Type.FLOAT32
        c.kernel, c.stride, c.pad, c.groups = op.kernel, op.stride, op.pad, op.groups
        c.in_channels, c.out_channels, c.shuffle = op.in_channels, op.out_channels, op.shuffle
        c.scale = op.out.map.scale // op.shuffle if same_grid else 1
        if op.kind in (OpKind.COLLECT, OpKind.MEAN):
            c.scale = op.sources[0].map.scale
        c.source, c.sources, c.step, c.steps = source, len(op.sources), step, len(op.steps)
        c.out, c.out_channel, c.out_lanes = op.out.map.index, op.out.first, op.out.lanes
        c.planar, c.reach, c.rectified = op.out.map.layout == Layout.PLANAR, op.reach, op.rectified
        if op.kind == OpKind.LAYER_NORM:
            c.value[0] = op.eps
        for i, one in enumerate(op.steps):
            c_step = self.c_steps[step + i]
            c_step.kind, c_step.a, c_step.b = one.kind, one.a, one.b
            if one.source:
                c_step.map, c_step.channel = one.source.map.index, one.source.first

    def pack(self) -> None:
        """Read all weights, biases and vectors anew: after a step of the optimizer, `load_state_dict`, `.to`."""
        self.memory = []
        for c, op in zip(self.c_ops, self.ops, strict=True):
            pointer = ctypes.byref(c)
            lanes = np.empty(self.library.c.amsr_packed_lanes(pointer), np.int32)
            self.library.c.amsr_lane_channels(pointer, lanes.ctypes.data)
            if op.weight is not None:
                weight = read(op.weight, self._weight_shape(op), f'weight of {op.kind.name} into {op.out.map}')
                packed = self._new(-(-self.library.c.amsr_packed_bytes(pointer, self.c_sources) // 4) + 2 * ALIGNED)
                self.library.c.amsr_pack(pointer, self.c_sources, weight.ctypes.data, packed.ctypes.data)
                c.weights = packed.ctypes.data
                c.vector = self._vector(op, op.bias, lanes).ctypes.data
            for i, step in enumerate(op.steps):
                if step.kind in (StepKind.ADD_VECTOR, StepKind.MUL_VECTOR, StepKind.SLOPE):
                    self.c_steps[c.step + i].vector = self._vector(op, step.values, lanes).ctypes.data

    @staticmethod
    def _weight_shape(op: Op) -> tuple[int, ...]:
        if op.kind == OpKind.PREDICT:
            return op.out_channels, op.in_channels * (1 + op.rectified)
        inputs = 1 if op.kind == OpKind.DEPTHWISE else op.in_channels // op.groups
        return op.out_channels, inputs, op.kernel, op.kernel

    def _new(self, elements: int) -> np.ndarray:
        self.memory.append(aligned(elements, np.float32))
        return self.memory[-1]

    def _vector(self, op: Op, values: Values | None, lanes: np.ndarray) -> np.ndarray:
        vector = self._new(len(lanes) + ALIGNED)
        if values is not None:
            tensor = values() if callable(values) else values
            flat = tensor.detach().to('cpu', torch.float32).reshape(-1)
            if len(flat) not in (1, op.out_channels):
                raise ValueError(f'{len(flat)} values for the {op.out_channels} channels into {op.out.map}')
            array = flat.expand(op.out_channels).numpy()
            vector[:len(lanes)][lanes >= 0] = array[lanes[lanes >= 0]]
        return vector
