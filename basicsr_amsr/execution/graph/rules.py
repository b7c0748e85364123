"""Where each value of a graph has to be known when pixels may be skipped, and which are read beside active ones.

The anchor, what the first convolution gives, is known everywhere; behind it convolutions that keep height and width,
pointwise functions, norms of each pixel's channels, concatenations, averages over the image, pixel shuffle and
nearest-neighbour enlargement need only the active pixels. What they read of skipped pixels is predicted from the
anchor.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from basicsr_amsr.execution.graph.ops import (
    Arithmetic,
    BatchNorm,
    Concat,
    Conv,
    Graph,
    LayerNorm,
    Mean,
    Op,
    Pointwise,
    Resize,
    Shuffle,
    Slice,
)
from basicsr_amsr.execution.graph.sizes import at
from basicsr_amsr.execution.graph.trace import Unreadable

# What makes a value. 'map': anything else, done on whole maps.
Kind = Literal['conv', 'pointwise', 'cat', 'slice', 'pool', 'shuffle', 'enlarge', 'map']
# Where a value is known. 'rows': at active pixels; 'map': everywhere; 'image': one per image, (B, C, 1, 1).
Form = Literal['rows', 'map', 'image']
POINTWISE = (Pointwise, Arithmetic, BatchNorm, LayerNorm)


@dataclass(frozen=True)
class Fact:
    """What is known of one value.

    Attributes:
        kind: what makes it. form: where it is known.
        scale: side of its map over that of the image, 0 for what is no map of a multiple of that size.
        channels: 0 where it is no tensor (B, C, H, W).
        reach: how far the convolution that makes it looks, rows and columns.
    """

    kind: Kind
    form: Form
    scale: int
    channels: int
    reach: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Rules:
    """A graph, and where each of its values has to be known when pixels may be skipped.

    Attributes:
        graph: the network.
        facts: of each value; of the image, 0, as well.
        anchor: the value from which skipped pixels are predicted; 0, what goes in, in a unit whose skipped pixels keep
            that.
    """

    graph: Graph
    facts: tuple[Fact, ...]
    anchor: int

    @property
    def output(self) -> int:
        """The number of the network's image."""
        return self.graph.output

    def form(self, value: int) -> Form:
        """Where a value is known: at active pixels, everywhere, or one value for each image."""
        return self.facts[value].form

    def scale(self, value: int) -> int:
        """Side of a value's map over the image's."""
        return self.facts[value].scale

    def channels(self, value: int) -> int:
        """Channels of a value."""
        return self.facts[value].channels

    def parts(self, value: int) -> tuple[int, ...]:
        """The values whose concatenation a value is, or itself."""
        if self.form(value) == 'rows' and self.facts[value].kind == 'cat':
            return tuple(part for i in self.graph.ops[value - 1].inputs for part in self.parts(i))
        return (value,)

    def looks_around(self, value: int) -> bool:
        """Whether a value needs its inputs beyond the active pixels."""
        fact = self.facts[value]
        return fact.kind in ('map', 'pool') or fact.reach != (0, 0)

    @cached_property
    def contexts(self) -> dict[int, tuple[int, int]]:
        """Values that are needed at skipped pixels too, and how far from active ones; there they are predicted.

        The reach is in pixels of the value's own map, rows and columns. Those in `everywhere` have (0, 0) as long as no
        convolution reads them, as have those that are only averaged.
        """
        found: dict[int, tuple[int, int]] = {}
        for value, op in enumerate(self.graph.ops, 1):
            if not self.looks_around(value):
                continue
            fact = self.facts[value]
            for i in op.inputs:
                for part in self.parts(i) if fact.kind == 'conv' else (i,):
                    if self.form(part) == 'rows':
                        before = found.get(part, (0, 0))
                        found[part] = max(fact.reach[0], before[0]), max(fact.reach[1], before[1])
        return dict(sorted(found.items()))

    @cached_property
    def everywhere(self) -> frozenset[int]:
        """Predicted values that are read as whole maps, by something that needs every pixel."""
        return frozenset(i for value, op in enumerate(self.graph.ops, 1) if self.facts[value].kind == 'map'
                         for i in op.inputs if self.form(i) == 'rows')

    @cached_property
    def averaged(self) -> frozenset[int]:
        """Predicted values that are averaged over the image."""
        return frozenset(i for value, op in enumerate(self.graph.ops, 1) if self.facts[value].kind == 'pool'
                         for i in op.inputs if self.form(i) == 'rows')

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """The values that read each value."""
        found: dict[int, list[int]] = {}
        for value, op in enumerate(self.graph.ops, 1):
            for i in op.inputs:
                found.setdefault(i, []).append(value)
        return found

    @cached_property
    def resized_for_active(self) -> frozenset[int]:
        """Resized maps of which nothing but active pixels is read."""
        return frozenset(
            value for value, op in enumerate(self.graph.ops, 1)
            if isinstance(op, Resize) and self.form(value) == 'map' and self.scale(value) and value not in
            self.graph.outputs and all(self.form(reader) == 'rows' and self.facts[reader].kind in ('conv', 'pointwise')
                                       and not self.looks_around(reader) for reader in self.readers.get(value, ())))

    @cached_property
    def halo(self) -> int:
        """How many pixels of the image around the active ones predicted values are read."""
        return max((-(-max(reach) // self.scale(value)) for value, reach in self.contexts.items()), default=0)


def rules_of(graph: Graph) -> Rules:
    """What may be skipped of a graph.

    Raises:
        Unreadable: it has no first convolution of the image's size, or nothing behind that can be skipped.
    """
    anchor = next((number for number, op in enumerate(graph.ops, 1) if isinstance(op, Conv)), None)
    if anchor is None:
        raise Unreadable(f'{graph.name} has no convolution that its image rests on.')
    if _Sides(graph).scale(anchor) != 1:
        raise Unreadable(f'{graph.name}: its first convolution gives maps of another size than the image has.')
    facts = facts_of(graph, anchor)
    if not any(fact.form == 'rows' and fact.kind == 'conv' for fact in facts):
        raise Unreadable(f'{graph.name}: behind its first convolution nothing can be skipped pixel by pixel.')
    return Rules(graph, facts, anchor)


def facts_of(graph: Graph, anchor: int) -> tuple[Fact, ...]:
    """What is known of each value where the anchor is known everywhere, and what rests on it at active pixels."""
    sides = _Sides(graph)
    facts = [Fact('map', 'map', 1, sides.channels(0))]
    behind = {anchor}  # values that rest on the anchor
    for value, op in enumerate(graph.ops, 1):
        if behind.intersection(op.inputs):
            behind.add(value)
        scale, channels = sides.scale(value), sides.channels(value)
        kind = kind_of(graph, op)
        form = _form(kind, op, facts, sides, value, behind) if value > anchor and op.inputs and channels else 'map'
        if form == 'map' or (form == 'image' and kind != 'pool'):
            kind = 'pointwise' if form == 'image' else 'map'
        reach = reach_of(graph, op) if kind == 'conv' and isinstance(op, Conv) else (0, 0)
        facts.append(Fact(kind, form, scale, channels, reach))
    return tuple(facts)


class _Sides:
    """Sizes of a graph's maps, compared at several sizes of the image."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.samples = graph, graph.samples

    def of(self, value: int) -> list[tuple[int, int]]:
        """Height and width at every sample."""
        _, _, height, width = self.graph.shape(value)
        return [(at(height, size), at(width, size)) for size in self.samples]

    def channels(self, value: int) -> int:
        shape = self.graph.shape(value)
        return at(shape[1], self.graph.traced) if len(shape) == 4 else 0

    def scale(self, value: int) -> int:
        if not self.channels(value):
            return 0
        own, image = self.of(value), self.of(0)
        scale = own[0][0] // image[0][0]
        return scale if own == [(height * scale, width * scale) for height, width in image] else 0

    def is_pixel(self, value: int) -> bool:
        """Whether a map has one pixel, whatever the image's size."""
        return all(sides == (1, 1) for sides in self.of(value)) and self.of(value) != self.of(0)


def _form(kind: Kind, op: Op, facts: list[Fact], sides: _Sides, value: int, behind: set[int]) -> Form:
    if kind == 'pool':
        return 'image'
    forms = {facts[i].form for i in op.inputs}
    if forms == {'image'} and kind in ('conv', 'pointwise', 'cat'):
        return 'image'  # a map of one pixel
    scale = sides.scale(value)
    if not scale or sides.is_pixel(value):
        return 'map'
    if kind in ('shuffle', 'enlarge', 'slice'):
        fits = forms == {'rows'}
    elif kind == 'conv':
        fits = forms <= {'rows', 'map'} and bool(behind.intersection(op.inputs))
    else:
        fits = kind in ('pointwise', 'cat') and 'rows' in forms and all(
            sides.channels(i) and (sides.is_pixel(i) or sides.scale(i) == scale) for i in op.inputs)
    return 'rows' if fits else 'map'


def kind_of(graph: Graph, op: Op) -> Kind:
    if isinstance(op, Conv):
        return 'conv' if not op.transposed and op.stride == (1, 1) and op.padding == reach_of(graph, op) and all(
            side % 2 for side in graph.weights[op.weight].shape[2:]) else 'map'
    if isinstance(op, POINTWISE):
        return 'pointwise'
    if isinstance(op, Concat):
        return 'cat'
    if isinstance(op, Slice):
        return 'slice' if op.dim == 1 else 'map'
    if isinstance(op, Mean):
        return 'pool'
    if isinstance(op, Shuffle):
        return 'map' if op.inverse else 'shuffle'
    if isinstance(op, Resize) and op.mode == 'nearest' and op.factors is not None:
        height, width = op.factors
        return 'enlarge' if height == width == int(height) and height >= 1 else 'map'
    return 'map'


def reach_of(graph: Graph, op: Conv) -> tuple[int, int]:
    """How far a convolution looks, rows and columns."""
    kernel = graph.weights[op.weight].shape[2:]
    return tuple(d * (k - 1) // 2 for d, k in zip(op.dilation, kernel, strict=True))  # type: ignore[return-value]
