"""The epilogue of a convolution, computed before its values are first written: activation, scaling, sum, activation."""
from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from basicsr_amsr.execution.graph.ops import Arithmetic, Op, Pointwise, Weight
from basicsr_amsr.execution.graph.run_by_torch import Weights


class Activation(NamedTuple):
    """x where x ≥ 0, else slope · x: ReLU (0), LeakyReLU (a number), PReLU (a tensor of 1 or C, or its name)."""

    slope: float | torch.Tensor | Weight

    def into(self, rows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The activated rows (n, C), written into `out`; where that is `rows`, perhaps a new tensor."""
        if isinstance(self.slope, torch.Tensor):
            values = F.prelu(rows, self.slope)
            return values if out is rows and values.dtype == out.dtype else out.copy_(values)
        if self.slope:
            return torch.ops.aten.leaky_relu.out(rows, self.slope, out=out)
        return torch.clamp_min(rows, 0, out=out)

    def bound(self, weights: Weights) -> Activation:
        """The same activation with the tensor of its slope, where that is named as a weight."""
        return Activation(weights[self.slope.name]) if isinstance(self.slope, Weight) else self


class Epilogue(NamedTuple):
    """after(scale · before(x) + added): what follows a convolution. `added` is (n, C), or the number of a value."""

    before: Activation | None = None
    scale: float = 1.0
    added: Any = None
    after: Activation | None = None

    def bound(self, weights: Weights) -> Epilogue:
        """The same epilogue with the tensors of its activations' slopes."""
        if self.before is None and self.after is None:
            return self
        return self._replace(before=self.before and self.before.bound(weights),
                             after=self.after and self.after.bound(weights))


PLAIN = Epilogue()


class Fused(NamedTuple):
    """Value `value`, made of the convolution of value `conv` (itself, where nothing follows) and an epilogue.

    `conv` is None for what is no convolution.
    """

    value: int
    conv: int | None
    epilogue: Epilogue = PLAIN


def fused(stage: Collection[int], ops: Sequence[Op], convs: Container[int], readers: Mapping[int, Sequence[int]],
          kept: Container[int]) -> list[Fused]:
    """The values of a stage in the order in which to compute them, each convolution with the epilogue fused into it.

    Args:
        stage: ascending numbers of values. ops: of value 1, 2, …
        convs: the values that are convolutions.
        readers: the values that are made of each value.
        kept: values that are needed after the stage, so that they have to be written.
    """
    found: list[Fused] = []
    done: set[int] = set()
    for value in stage:
        if value in done:
            continue
        if value not in convs:
            found.append(Fused(value, None))
            continue
        last, epilogue = value, PLAIN
        while last not in kept and len(readers.get(last, ())) == 1:
            reader = readers[last][0]
            longer = _extended(epilogue, ops[reader - 1], last, value) if reader in stage else None
            if longer is None:
                break
            last, epilogue = reader, longer
            done.add(reader)
        found.append(Fused(last, value, epilogue))
    return found


def _extended(epilogue: Epilogue, op: Op, last: int, conv: int) -> Epilogue | None:
    """The epilogue with one more operation on value `last`, or None where that has no place in it."""
    if epilogue.after:
        return None
    activation = activation_of(op)
    if activation is not None:
        if epilogue.added is not None:
            return epilogue._replace(after=activation)
        return None if epilogue.before or epilogue.scale != 1 else epilogue._replace(before=activation)
    if epilogue.added is not None:
        return None
    if is_sum(op):
        other = op.inputs[0] if op.inputs[1] == last else op.inputs[1]
        return epilogue._replace(added=other) if other < conv else None  # a later value is not there yet
    factor = factor_of(op)
    return None if factor is None else epilogue._replace(scale=epilogue.scale * factor)


def activation_of(op: Op) -> Activation | None:
    """The activation that an op is, if it is one of those."""
    if not isinstance(op, Pointwise):
        return None
    if op.function == 'prelu':
        return Activation(Weight(op.weight)) if op.weight else None
    slope = {'relu': 0.0, 'leaky_relu': next(iter(op.arguments), 0.0)}.get(op.function)
    return None if slope is None else Activation(float(slope))


def is_sum(op: Op) -> bool:
    """Whether two values are added, without a factor."""
    return isinstance(op, Arithmetic) and op.function == 'add' and len(op.inputs) == 2


def factor_of(op: Op) -> float | None:
    """The number that a value is multiplied by."""
    if not isinstance(op, Arithmetic) or op.function != 'mul':
        return None
    return next((float(side) for side in (op.left, op.right) if isinstance(side, (int, float))), None)
