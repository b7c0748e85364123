"""Which values of a network in bf16 stay float32."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from basicsr_amsr.execution.dense.operands import Kind, kind_of, other_of
from basicsr_amsr.execution.dense.units import Half, Unit
from basicsr_amsr.execution.graph.ops import Arithmetic, Conv, Graph, Keep, Value

WINOGRAD = 16  # channels, in and out, from which F(4x4, 3x3) is faster than the direct form


def residuals(graph: Graph, units: list[Unit], fixed: set[int], bases: Callable[[int], set[int]]) -> set[int]:
    """Sums of maps, and what is added in them. A residual network carries them through all its blocks, and in bf16 they
    would be rounded once more in each block.

    They stay float32 where only steps and Winograd's transforms read them, which take them as they are.

    Args:
        bases: the values of which one is made of channels.
    """
    found = {value for unit in units if unit.half == Half.ALL for value in _summands(graph, unit, fixed)}
    for unit in units:
        if isinstance(graph.ops[unit.ops[0]], Conv) and not _is_winograd(graph, unit):
            found -= bases(unit.source)
    return found


def _summands(graph: Graph, unit: Unit, fixed: set[int]) -> list[int]:
    """A unit's result and what its last step adds to it, where it ends so."""
    number = next((each for each in reversed(unit.ops) if not isinstance(graph.ops[each], Keep)), unit.ops[-1])
    op = graph.ops[number]
    if not isinstance(op, Arithmetic) or op.function not in ('add', 'sub') or number in unit.nearest:
        return []
    other = other_of(op, unit.main[number])
    if not isinstance(other, Value) or kind_of(graph, other, op.shape, fixed) != Kind.MAP:
        return []
    return [unit.value, other.number]


def winograd_is_faster(kernel: Sequence[int], stride: Sequence[int], inputs: int, outputs: int) -> bool:
    """Whether F(4x4, 3x3) can do a convolution and is faster than the direct form.

    Args:
        kernel, stride: vertically and horizontally.
        inputs, outputs: channels of a group.
    """
    return (*kernel, *stride) == (3, 3, 1, 1) and min(inputs, outputs) >= WINOGRAD


def _is_winograd(graph: Graph, unit: Unit) -> bool:
    op = graph.ops[unit.ops[0]]
    if not isinstance(op, Conv) or op.transposed or unit.fold or unit.half != Half.ALL:
        return False
    outputs, inputs, *kernel = graph.weights[op.weight].shape
    return winograd_is_faster(kernel, op.stride, inputs, outputs // op.groups)
