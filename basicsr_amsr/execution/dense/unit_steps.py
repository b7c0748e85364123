"""The element-wise ops of a unit as steps of its native operator."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from basicsr_amsr.execution.dense.operands import Kind, kind_of, other_of
from basicsr_amsr.execution.dense.units import Unit
from basicsr_amsr.execution.graph import run_by_torch
from basicsr_amsr.execution.graph.ops import Arithmetic, BatchNorm, Conv, Graph, Op, Operand, Pointwise, Value, Weight
from basicsr_amsr.execution.native import steps as native
from basicsr_amsr.execution.native.maps import Slice as Channels
from basicsr_amsr.execution.native.steps import Step

Read = Callable[[], torch.Tensor]


class Constants:
    """The current weights and constant values of a network.

    Args:
        graph: of the network. `net` has to be set before any is read.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.net: Any = None

    def weight(self, name: str) -> Read:
        """A function that returns a weight."""
        return lambda: run_by_torch.Weights(self.net, self.graph)[name]

    def maybe(self, name: str | None) -> Read | None:
        """The same, or None where there is no name."""
        return None if name is None else self.weight(name)

    def operand(self, operand: Operand) -> Read:
        """A function that returns a weight or constant value."""
        if isinstance(operand, Weight):
            return self.weight(operand.name)
        assert isinstance(operand, Value)
        return lambda: self.value(operand.number)

    def value(self, number: int) -> torch.Tensor:
        """A value that rests on weights alone."""
        needed, todo = set(), [number]
        while todo:
            value = todo.pop()
            if value not in needed:
                needed.add(value)
                todo.extend(self.graph.ops[value - 1].inputs)
        values: list[Any] = [torch.empty(0)] + [None] * len(self.graph.ops)
        weights = run_by_torch.Weights(self.net, self.graph)
        with torch.no_grad():
            for value in sorted(needed):
                values[value] = run_by_torch.call(self.graph.ops[value - 1], values, weights, (1, 1, 1), values[0])
        return values[number]


class Declaring(Protocol):
    """What `steps_of` needs from the program that is being built (segment_build.py)."""

    graph: Graph
    constants: Constants
    fixed: set[int]

    def is_step(self, op: Op) -> bool:
        """Whether an op is steps of an operator."""

    def single(self, value: int) -> Channels:
        """A value in one map."""


def steps_of(build: Declaring, unit: Unit) -> list[Step]:
    """The steps of a unit, in order."""
    found: list[Step] = []
    head = build.graph.ops[unit.ops[0]]
    spread = unit.shuffle if not (isinstance(head, Conv) and head.transposed) else head.stride[0]
    first = 0 if build.is_step(head) else 1
    for op in unit.ops[first:]:
        found += _steps(build, unit, build.graph.ops[op], op, spread ** 2)
    return found


def _steps(build: Declaring, unit: Unit, op: Op, number: int, spread: int) -> list[Step]:
    constants = build.constants

    def values(read: Read) -> Read:
        return lambda: _spread(read(), spread)

    if isinstance(op, Pointwise):
        return [_function(op, values(constants.weight(op.weight)) if op.weight else None)]
    if isinstance(op, BatchNorm):
        return _normalise(op, constants, values)
    if not isinstance(op, Arithmetic):
        return []  # the shuffle, which the store does, and where a unit ends
    if number in unit.nearest:
        return [native.add_nearest(build.single(unit.nearest[number]))]
    main = unit.main[number]
    other, turned = other_of(op, main), op.right == Value(main) and op.left != Value(main)
    kind = kind_of(build.graph, other, op.shape, build.fixed)
    sign = -1.0 if op.function == 'sub' else 1.0
    before = [native.affine(-1.0)] if turned and op.function == 'sub' else []
    sign = 1.0 if before else sign
    if kind == Kind.SCALAR:
        assert isinstance(other, (int, float))
        if op.function in ('mul', 'div'):
            return [native.affine(other if op.function == 'mul' else 1 / other)]
        return [native.affine(-1.0 if before else 1.0, sign * other)]
    if kind == Kind.VECTOR:
        read = constants.operand(other)
        if op.function == 'mul':
            return [native.multiply_vector(values(read))]
        if op.function == 'div':
            return [native.multiply_vector(values(lambda: 1 / read()))]
        return [*before, native.add_vector(values(lambda: sign * read()))]
    assert isinstance(other, Value)
    source = build.single(other.number)
    if kind == Kind.PIXEL:
        return [native.multiply_image(source)]
    if op.function == 'mul':
        return [native.multiply(source)]
    return [*before, native.add(source, sign)]


def _spread(values: torch.Tensor, times: int) -> torch.Tensor:
    """One value for each channel before the pixel shuffle."""
    flat = values.reshape(-1)
    return flat if len(flat) == 1 else flat.repeat_interleave(times)


def _function(op: Pointwise, slopes: Read | None) -> Step:
    if slopes is not None:
        return native.prelu(slopes)
    if op.function == 'clamp':
        low, high = op.arguments
        return native.clamp(-3e38 if low is None else float(low), 3e38 if high is None else float(high))
    return getattr(native, op.function)(*op.arguments)


def _normalise(op: BatchNorm, constants: Constants, values: Callable[[Read], Read]) -> list[Step]:
    def scale() -> torch.Tensor:
        factor = (constants.weight(op.variance)().double() + op.eps).rsqrt()
        return factor * constants.weight(op.weight)().double() if op.weight else factor

    def shift() -> torch.Tensor:
        moved = -constants.weight(op.mean)().double() * scale()
        return moved + constants.weight(op.bias)().double() if op.bias else moved

    return [native.multiply_vector(values(scale)), native.add_vector(values(shift))]
