"""The second operand of an element-wise op, and whether the native kernels take the op as a step."""
from __future__ import annotations

from enum import Enum

from torch.utils._pytree import tree_leaves

from basicsr_amsr.execution.graph.ops import (
    Arithmetic,
    BatchNorm,
    Graph,
    Keep,
    Op,
    Operand,
    Pointwise,
    Shuffle,
    Value,
    Weight,
)
from basicsr_amsr.execution.graph.sizes import Size

FUNCTIONS = ('relu', 'leaky_relu', 'prelu', 'gelu', 'silu', 'sigmoid', 'tanh', 'clamp', 'mish')


class Kind(Enum):
    """Kinds of the second operand of a step."""
    SCALAR = 'a number'
    VECTOR = 'a number for each channel'
    MAP = 'a map of the same shape'
    PIXEL = 'a map of one pixel'


def constants(graph: Graph) -> set[int]:
    """The values that rest on weights alone, not on the image or its size."""
    found: set[int] = set()
    for number, op in enumerate(graph.ops):
        sized = any(isinstance(leaf, Size) for leaf in tree_leaves([op.shape, getattr(op, 'args', ())]))
        if all(value in found for value in op.inputs) and not sized:
            found.add(number + 1)
    return found


def kind_of(graph: Graph, operand: Operand, shape: tuple[object, ...], fixed: set[int]) -> Kind | None:
    """The kind of an operand of a step on a map of the given shape; None where the native kernels have no such step."""
    if isinstance(operand, (int, float)):
        return Kind.SCALAR
    if isinstance(operand, Weight) or operand.number in fixed:
        own = tuple(graph.weights[operand.name].shape) if isinstance(operand, Weight) else graph.shape(operand.number)
        sides = (1,) * (4 - len(own)) + tuple(own)
        return Kind.VECTOR if sides in ((1, 1, 1, 1), (1, shape[1], 1, 1)) else None
    own = graph.shape(operand.number)
    if own == shape:
        return Kind.MAP
    return Kind.PIXEL if own == (shape[0], shape[1], 1, 1) else None


def is_elementwise(graph: Graph, op: Op, fixed: set[int]) -> bool:
    """Whether an op is steps of the native kernels."""
    if isinstance(op, Pointwise):
        return op.function in FUNCTIONS
    return isinstance(op, BatchNorm | Keep) or (isinstance(op, Arithmetic) and bool(mains(graph, op, fixed)))


def other_of(op: Arithmetic, main: int) -> Operand:
    """The operand beside the main one."""
    return op.right if op.left == Value(main) else op.left


def mains(graph: Graph, op: Op, fixed: set[int]) -> list[int]:
    """The values that may be the main operand of an element-wise op, the latest first."""
    if isinstance(op, Keep):
        return [op.inputs[1]]
    if not isinstance(op, Arithmetic):
        return list(op.inputs)
    found = []
    for side, other in ((op.left, op.right), (op.right, op.left)):
        if not isinstance(side, Value) or side.number in fixed or graph.shape(side.number) != op.shape:
            continue
        kind = kind_of(graph, other, op.shape, fixed)
        divides = op.function == 'div' and (side is not op.left or kind in (Kind.MAP, Kind.PIXEL))
        adds_pixel = op.function in ('add', 'sub') and kind == Kind.PIXEL
        if kind is not None and not divides and not adds_pixel:
            found.append(side.number)
    return sorted(set(found), reverse=True)


def is_shuffle(op: Op) -> bool:
    """Whether an op is a pixel shuffle, which convolutions do as they store."""
    return isinstance(op, Shuffle) and not op.inverse
