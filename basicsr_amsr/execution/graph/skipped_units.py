"""Units of a graph that a mask skips as a whole: what convolutions inside them find at skipped pixels, and how far
around the active ones each value is needed.

A skipped pixel keeps what goes into the unit (`Keep`). Inside, convolutions find 0 there (`Zero`), but for what is made
of the unit's input pixel by pixel, which is known everywhere. Averages over the image are those of the active pixels.
"""
from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.graph.ops import Concat, Conv, Enter, Graph, Keep, Mean, Op, Zero, renumbered
from basicsr_amsr.execution.graph.rules import kind_of, reach_of
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.graph.traces import Traces


@dataclass(frozen=True)
class Units:
    """A graph with units that a mask skips.

    Attributes:
        graph: without `Enter`; `Zero` stands where a convolution inside a unit finds 0 at skipped pixels.
        reach: of each value inside units how far around active pixels it is needed, in pixels of its own map; of what
            has one value for an image nothing.
    """

    graph: Graph
    reach: dict[int, int]

    @property
    def kept(self) -> list[int]:
        """The values that units leave."""
        return [value for value, op in enumerate(self.graph.ops, 1) if isinstance(op, Keep)]


def units_of(graph: Graph) -> Units:
    """The units of a graph that was traced with them marked.

    Raises:
        Unreadable: there is none, or something in one that cannot be skipped pixel by pixel.
    """
    members: dict[int, bool] = {}  # value inside a unit: whether it is one for an image
    for op in graph.ops:
        if isinstance(op, Keep):
            members |= _members(graph, op)
    if not members:
        raise Unreadable(f'{graph.name} has no unit that can be skipped.')
    outer = _outer(graph, members)
    made = _Rewriting(graph)
    for value, op in enumerate(graph.ops, 1):
        if isinstance(op, Enter):
            made.new[value] = made.new[op.inputs[0]]
            continue
        new = renumbered(op, made.new)
        if value in members and isinstance(new, Mean):
            new = replace(new, active=not members[op.inputs[0]])
        elif value in members and isinstance(op, Conv) and not members[value] and any(reach_of(graph, op)):
            new = replace(new, inputs=(made.zeroed(op.inputs[0], members, outer),))
        made.add(value, new)
    result = replace(graph, ops=tuple(made.ops), outputs=tuple(made.new[value] for value in graph.outputs))
    inner = {made.new[value] for value, of_image in members.items()
             if not of_image and not isinstance(graph.ops[value - 1], Enter)} | made.inside
    return Units(result, _reach(result, inner))


def _members(graph: Graph, keep: Keep) -> dict[int, bool]:
    """The values inside a unit, in order; True for those that are one value for the whole image, such as averages."""
    start, end = keep.inputs
    found, todo = set(), [end]
    while todo:
        value = todo.pop()
        op = graph.ops[value - 1] if value else None
        if value in found or (isinstance(op, Enter) and op.inputs[0] == start):
            found.add(value)
            continue
        if op is None or isinstance(op, (Enter, Keep)):
            raise Unreadable(f'{graph.name}: a unit ({keep.where}) reads more than what it is given.')
        found.add(value)
        todo.extend(op.inputs)
    flags: dict[int, bool] = {}
    for value in sorted(found):
        op = graph.ops[value - 1]
        flags[value] = isinstance(op, Mean) or (not isinstance(op, Enter) and all(flags[i] for i in op.inputs))
        if not flags[value] and not isinstance(op, Enter) and kind_of(graph, op) not in ('conv', 'pointwise', 'cat',
                                                                                        'slice'):
            raise Unreadable(f'{graph.name}: {op.where} cannot be skipped pixel by pixel.')
    return flags


def _outer(graph: Graph, members: dict[int, bool]) -> set[int]:
    """Values inside units that depend on the unit's input at the same pixel alone."""
    outer: set[int] = set()
    fixed: set[int] = set()  # of weights alone
    for value in sorted(members):
        op = graph.ops[value - 1]
        if all(i in fixed for i in op.inputs):
            fixed.add(value)
        elif isinstance(op, Enter) or (not members[value] and not isinstance(op, Conv)
                                       and all(i in outer or i in fixed for i in op.inputs)):
            outer.add(value)
    return outer


class _Rewriting:
    """A graph with values put in between."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops: list[Op] = []
        self.new = {0: 0}
        self.inside: set[int] = set()  # values that were put in
        self._zeros: dict[int, int] = {}

    def add(self, value: int | None, op: Op) -> int:
        """Append an op, which stands for a value of the graph."""
        self.ops.append(op)
        if value is not None:
            self.new[value] = len(self.ops)
        return len(self.ops)

    def zeroed(self, value: int, members: dict[int, bool], outer: set[int]) -> int:
        """What a convolution reads of a value: 0 at skipped pixels, as far as another convolution made it."""
        op = self.graph.ops[value - 1]
        if value in outer or members[value]:
            return self.new[value]
        if value not in self._zeros:
            if isinstance(op, Concat):
                parts = tuple(self.zeroed(i, members, outer) for i in op.inputs)
                self._zeros[value] = self.add(None, replace(op, inputs=parts))
            else:
                self._zeros[value] = self.add(None, Zero(inputs=(self.new[value],), shape=op.shape, dtype=op.dtype,
                                                         where=op.where))
            self.inside.add(self._zeros[value])
        return self._zeros[value]


def _reach(graph: Graph, inner: set[int]) -> dict[int, int]:
    reach: dict[int, int] = {}
    for value in range(len(graph.ops), 0, -1):
        op = graph.ops[value - 1]
        if isinstance(op, Keep):
            reach.setdefault(op.inputs[1], 0)
        elif value in inner:
            own = 0 if isinstance(op, Zero) else reach.get(value, 0)
            around = max(reach_of(graph, op)) if isinstance(op, Conv) else 0
            for i in op.inputs:
                if i in inner:
                    reach[i] = max(reach.get(i, 0), own + around)
    return {value: reach.get(value, 0) for value in sorted(inner)}


def without_units(graph: Graph) -> Graph:
    """The graph in which nothing is skipped."""
    made = _Rewriting(graph)
    for value, op in enumerate(graph.ops, 1):
        if isinstance(op, Enter | Keep):
            made.new[value] = made.new[op.inputs[-1]]
        else:
            made.add(value, renumbered(op, made.new))
    return replace(graph, ops=tuple(made.ops), outputs=tuple(made.new[value] for value in graph.outputs))


class PlainTraces(Traces):
    """The graphs of a network in which nothing is skipped, made from its graphs with marked units.

    Args:
        marked: the graphs with marked units.
    """

    def __init__(self, marked: Traces) -> None:
        super().__init__(marked.forward)
        self.marked = marked
        self._plain: dict[int, Graph] = {}
        self._making = threading.Lock()

    def graph(self, net: nn.Module, x: torch.Tensor) -> Graph:
        graph = self.marked.graph(net, x)
        with self._making:
            if id(graph) not in self._plain:
                self._plain[id(graph)] = without_units(graph)
            return self._plain[id(graph)]

    def __reduce__(self) -> tuple[Any, ...]:
        return PlainTraces, (self.marked,)
