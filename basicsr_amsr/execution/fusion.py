"""What can be done to a convolution's values before they are first written: activation, scaling, sum, activation."""
from __future__ import annotations

import operator
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.graph import ops as graph
from basicsr_amsr.execution.graph.run_by_torch import Weights
from basicsr_amsr.execution.reading import Call
from basicsr_amsr.execution.unit import add

ADD = {operator.add, torch.add, torch.Tensor.add}
MUL = {operator.mul, torch.mul, torch.Tensor.mul}
RELU = {F.relu, torch.relu, torch.Tensor.relu}


class Activation(NamedTuple):
    """x where x ≥ 0, else slope · x: ReLU (0), LeakyReLU (a number), PReLU (a tensor of 1 or C)."""

    slope: float | torch.Tensor

    def into(self, rows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Of rows (n, C), written into `out`, which may be `rows`."""
        if isinstance(self.slope, torch.Tensor):
            return out.copy_(F.prelu(rows, self.slope))
        if self.slope:
            return torch.ops.aten.leaky_relu.out(rows, self.slope, out=out)
        return torch.clamp_min(rows, 0, out=out)


class Epilogue(NamedTuple):
    """after(scale · before(x) + added): what follows a convolution. `added` is (n, C), or the number of a value."""

    before: Activation | None = None
    scale: float = 1.0
    added: Any = None
    after: Activation | None = None


PLAIN = Epilogue()


class Fused(NamedTuple):
    """Value `value`, made of the convolution of value `conv` (itself, where nothing follows) and an epilogue.

    `conv` is None for what is no convolution.
    """

    value: int
    conv: int | None
    epilogue: Epilogue = PLAIN


class BoundOp(NamedTuple):
    """An op of a graph with the weights of a network."""

    op: graph.Op
    weights: Weights


class Operation(Protocol):
    """What is common to the nodes of units and the facts of graphs."""

    @property
    def kind(self) -> str:
        """'conv', 'pointwise' or another."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the values that it takes."""


def readers_of(operations: Sequence[Operation]) -> dict[int, list[int]]:
    """The values that are made of each value, of operations that make value 1, 2, …"""
    readers: dict[int, list[int]] = {}
    for number, operation in enumerate(operations, 1):
        for i in operation.inputs:
            readers.setdefault(i, []).append(number)
    return readers


def fused(stage: Sequence[int], operations: Sequence[Operation], calls: Sequence[Any],
          readers: Mapping[int, Sequence[int]], kept: Container[int]) -> list[Fused]:
    """The values of a stage in the order in which to compute them, each convolution with the epilogue fused into it.

    Args:
        stage: ascending numbers of values. operations, calls: of value 1, 2, …
        readers: `readers_of` the operations.
        kept: values that are needed after the stage, so that they have to be written.
    """
    found: list[Fused] = []
    done: set[int] = set()
    for value in stage:
        if value in done:
            continue
        if operations[value - 1].kind != 'conv':
            found.append(Fused(value, None))
            continue
        last, epilogue = value, PLAIN
        while last not in kept and len(readers.get(last, ())) == 1:
            reader = readers[last][0]
            longer = reader in stage and operations[reader - 1].kind == 'pointwise' and _extended(
                epilogue, calls[reader - 1], operations[reader - 1].inputs, last, value)
            if not longer:
                break
            last, epilogue = reader, longer
            done.add(reader)
        found.append(Fused(last, value, epilogue))
    return found


def _extended(epilogue: Epilogue, call: Any, inputs: tuple[int, ...], last: int,
              conv: int) -> Epilogue | None:
    """The epilogue with one more operation on value `last`, or None where that has no place in it."""
    if epilogue.after:
        return None
    activation = activation_of(call)
    if activation is not None:
        if epilogue.added is not None:
            return epilogue._replace(after=activation)
        return None if epilogue.before or epilogue.scale != 1 else epilogue._replace(before=activation)
    if epilogue.added is not None:
        return None
    if is_sum(call) and len(inputs) == 2:
        other = inputs[0] if inputs[1] == last else inputs[1]
        return epilogue._replace(added=other) if other < conv else None  # a later value is not there yet
    factor = factor_of(call)
    return None if factor is None else epilogue._replace(scale=epilogue.scale * factor)


def activation_of(call: Any) -> Activation | None:
    """The activation that a module, a `Call` or a `BoundOp` is, if it is one of those."""
    if isinstance(call, BoundOp):
        function = getattr(call.op, 'function', None) if isinstance(call.op, graph.Pointwise) else None
        if function == 'prelu':
            return Activation(call.weights[call.op.weight])  # type: ignore[attr-defined]
        slope = {'relu': 0.0, 'leaky_relu': next(iter(getattr(call.op, 'arguments', ())), 0.0)}.get(function or '')
        return None if slope is None else Activation(float(slope))
    if isinstance(call, nn.ReLU):
        return Activation(0.0)
    if isinstance(call, nn.LeakyReLU):
        return Activation(float(call.negative_slope))
    if isinstance(call, nn.PReLU):
        return Activation(call.weight)
    if not isinstance(call, Call) or not call.args or not isinstance(call.args[0], graph.Value):
        return None
    if call.function in RELU and len(call.args) == 1 and not call.kwargs:
        return Activation(0.0)
    if call.function is F.leaky_relu and not set(call.kwargs) - {'negative_slope'}:
        slope = call.kwargs.get('negative_slope', call.args[1] if len(call.args) > 1 else 0.01)
        return Activation(float(slope)) if isinstance(slope, (int, float)) else None
    return None


def is_sum(call: Any) -> bool:
    """Whether two values are added, without a factor."""
    if isinstance(call, BoundOp):
        return isinstance(call.op, graph.Arithmetic) and call.op.function == 'add' and len(call.op.inputs) == 2
    if call is add:
        return True
    return isinstance(call, Call) and call.function in ADD and not call.kwargs and all(
        isinstance(arg, graph.Value) for arg in call.args)


def factor_of(call: Any) -> float | None:
    """The number that a value is multiplied by."""
    if isinstance(call, BoundOp):
        if not isinstance(call.op, graph.Arithmetic) or call.op.function != 'mul':
            return None
        return next((float(side) for side in (call.op.left, call.op.right) if isinstance(side, (int, float))), None)
    if not isinstance(call, Call) or call.function not in MUL or call.kwargs or len(call.args) != 2:
        return None
    numbers = [arg for arg in call.args if isinstance(arg, (int, float)) and not isinstance(arg, bool)]
    return float(numbers[0]) if len(numbers) == 1 and any(isinstance(arg, graph.Value) for arg in call.args) else None
