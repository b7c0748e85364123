"""Which units run together: those of a pass on one group of patches, passes of a stage as a wavefront over rows."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from basicsr_amsr.execution.dense.operands import Kind, kind_of, other_of
from basicsr_amsr.execution.dense.units import Half, Unit
from basicsr_amsr.execution.graph.ops import AdaptiveMaxPool, Arithmetic, Conv, Graph, Keep, Mean, Pool, Resize, Value
from basicsr_amsr.execution.native.maps import Patches

MOST_PASSES = 8  # of a stage: what they write and read of each other should stay in the cache


class How(IntEnum):
    """The pixels of a value that a unit reads to compute one pixel."""
    PIXEL = 0   # the same one
    AROUND = 1  # its neighbourhood
    WHOLE = 2   # any


@dataclass
class Pass:
    """Units that run together on a group of patches."""
    patches: Patches
    units: list[Unit] = field(default_factory=list)


def reads_of(graph: Graph, unit: Unit, fixed: set[int]) -> list[tuple[int, How]]:
    """The values that a unit reads, and how."""
    head = graph.ops[unit.ops[0]]
    how = How.PIXEL
    if unit.fold:
        how = How.AROUND
    elif isinstance(head, Conv) and not head.transposed:
        plain = head.stride == (1, 1)
        reach = graph.weights[head.weight].shape[2] > 1 or head.padding[0] > 0
        how = How.WHOLE if not plain else How.AROUND if reach else How.PIXEL
    elif isinstance(head, Conv):
        how = How.AROUND
    elif isinstance(head, Resize | Pool | AdaptiveMaxPool):
        how = How.WHOLE
    if unit.half == Half.PRODUCTS:
        return [(unit.source, How.PIXEL)]
    found = [(-unit.result, How.AROUND) if unit.half == Half.SUMS else (unit.source, how)]
    for number in unit.ops:
        op = graph.ops[number]
        if number in unit.nearest:
            found.append((unit.nearest[number], How.PIXEL))
        elif isinstance(op, Keep):
            found.append((op.inputs[0], How.PIXEL))
        elif isinstance(op, Arithmetic):
            other = other_of(op, unit.main[number])
            if isinstance(other, Value) and other.number not in fixed:
                pixel = kind_of(graph, other, op.shape, fixed) == Kind.PIXEL
                found.append((other.number, How.WHOLE if pixel else How.PIXEL))
    # an average is there when all of its map is
    return [(value, How.WHOLE if value > 0 and isinstance(graph.ops[value - 1], Mean) else how) for value, how in found]


def passes_of(units: list[Unit], reads: Callable[[Unit], list[tuple[int, How]]],
              patches_of: Callable[[Unit], Patches]) -> list[Pass]:
    """Units that may run together and read the same, or each other, in one pass.

    Args:
        reads: the values that a unit reads, those that are made of others resolved. patches_of: those on
            which a unit runs.
    """
    passes: list[Pass] = []
    for unit in units:
        last = passes[-1] if passes else None
        mine = reads(unit)
        if last is not None and last.patches is patches_of(unit):
            written = {each.value for each in last.units}
            apart = any(value in written and how > How.PIXEL for value, how in mine)
            near = {value for each in last.units for value, _ in reads(each)} | written
            if not apart and any(value in near for value, _ in mine):
                last.units.append(unit)
                continue
        passes.append(Pass(patches_of(unit), [unit]))
    return passes


def stages_of(passes: list[Pass], reads: Callable[[Unit], list[tuple[int, How]]]) -> list[list[Pass]]:
    """Passes that may run as a wavefront: none reads a whole map that another of them writes."""
    stages: list[list[Pass]] = []
    for each in passes:
        last = stages[-1] if stages else []
        written = {unit.value for one in last for unit in one.units}
        whole = any(value in written and how == How.WHOLE for unit in each.units for value, how in reads(unit))
        if last and last[0].patches.grid is each.patches.grid and not whole and len(last) < MOST_PASSES:
            last.append(each)
        else:
            stages.append([each])
    return stages
