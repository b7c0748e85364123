"""Cuts a graph into segments that torch and the native kernels run in turns."""
from __future__ import annotations

from dataclasses import dataclass

from basicsr_amsr.execution.dense.operands import constants
from basicsr_amsr.execution.dense.units import can_be_native
from basicsr_amsr.execution.graph.ops import Graph


@dataclass(frozen=True)
class Segment:
    """Ops that run by one of the two.

    Attributes:
        native: by which. ops: their numbers, in order.
        inputs: values that are read from outside, constant ones apart; outputs: values that are needed outside.
    """

    native: bool
    ops: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def segments_of(graph: Graph) -> list[Segment]:
    """The fewest segments, torch first (perhaps with nothing to do), then native, and so on.

    Constant values are nobody's: they are computed when weights are packed.
    """
    fixed = constants(graph)
    level = {0: 0}
    members: dict[int, list[int]] = {}
    for number, op in enumerate(graph.ops):
        if number + 1 in fixed:
            continue
        own = max((level[value] for value in op.inputs if value not in fixed), default=0)
        native = can_be_native(graph, op, fixed)
        if native != bool(own % 2):
            own += 1
        level[number + 1] = own
        members.setdefault(own, []).append(number)
    found = []
    for own in sorted(members):
        inside = {number + 1 for number in members[own]}
        reads = {value for number in members[own] for value in graph.ops[number].inputs}
        later = {value for number, op in enumerate(graph.ops) if level.get(number + 1, own) > own
                 for value in op.inputs} | set(graph.outputs)
        found.append(Segment(bool(own % 2), tuple(members[own]), tuple(sorted(reads - inside - fixed)),
                             tuple(sorted(inside & later))))
    return found
