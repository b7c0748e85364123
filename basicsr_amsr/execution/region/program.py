"""What a network computes, value by value, and which of its values are needed at active pixels only."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from torch import nn

from basicsr_amsr.execution.reading import Call, bound

# What happens to the values that a step takes. 'map': anything else, done on whole maps.
Kind = Literal['conv', 'pointwise', 'cat', 'pool', 'shuffle', 'enlarge', 'map']
# Where a value is known. 'rows': at active pixels; 'map': everywhere; 'image': one per image, (B, C, 1, 1).
Form = Literal['rows', 'map', 'image']


class Step(NamedTuple):
    """One value of a network, made of others.

    Attributes:
        kind: see `Kind`; a 'conv' keeps height and width.
        inputs: numbers of the values it takes; 0 is the LR image, step i makes value i + 1.
        called: path of a module of the network, or a function with its arguments.
        form: where the value is known.
        scale: side of its map over that of the anchor's; 0 for what is no map of a multiple of that size.
        channels: of the value, 0 where it is no tensor (B, C, H, W).
        reach: how far a convolution looks, rows and columns.
        factor: of an enlargement.
    """

    kind: Kind
    inputs: tuple[int, ...]
    called: str | Call
    form: Form
    scale: int
    channels: int
    reach: tuple[int, int] = (0, 0)
    factor: int = 1


class Bound(NamedTuple):
    """A step with what it calls."""

    step: Step
    call: Callable[..., Any]


@dataclass(frozen=True)
class Program:
    """A network from its image to its image.

    Attributes:
        steps: in an order in which they can be computed; the last makes the output.
        anchor: the value that is known everywhere and from which skipped pixels are predicted: what the first
            convolution gives.
        name: of the network's class, for messages.
    """

    steps: tuple[Step, ...]
    anchor: int
    name: str

    def bind(self, net: nn.Module) -> list[Bound]:
        """The steps with the weights of a network: the one that was read, or a copy of it."""
        return [Bound(step, bound(step.called, net)) for step in self.steps]

    def form(self, value: int) -> Form:
        """Where a value is known; the image everywhere."""
        return self.steps[value - 1].form if value else 'map'

    def scale(self, value: int) -> int:
        """Side of a value's map over the anchor's."""
        return self.steps[value - 1].scale if value else 1

    def channels(self, value: int) -> int:
        """Channels of a value."""
        return self.steps[value - 1].channels

    def numbers(self, value: int, size: int) -> int:
        """How many numbers a tile takes at most while a value is computed: what is read, or what is written."""
        step = self.steps[value - 1]
        side = size * step.scale
        written = side**2 * step.channels
        if step.kind != 'conv':
            return written
        read = sum(self.channels(part) for part in self.parts(step.inputs[0]))
        return max(written, read * math.prod(side + 2 * reach for reach in step.reach))

    @property
    def output(self) -> int:
        """The number of the last value."""
        return len(self.steps)

    def parts(self, value: int) -> tuple[int, ...]:
        """The values whose concatenation a value is, or itself."""
        if value and self.form(value) == 'rows' and self.steps[value - 1].kind == 'cat':
            return tuple(part for i in self.steps[value - 1].inputs for part in self.parts(i))
        return (value,)

    def looks_around(self, number: int) -> bool:
        """Whether step `number` (from 1) needs its inputs beyond the active pixels."""
        step = self.steps[number - 1]
        return step.kind in ('map', 'pool') or step.reach != (0, 0)

    @cached_property
    def contexts(self) -> dict[int, tuple[int, int]]:
        """Values that are needed at skipped pixels too, and how far from active ones; there they are predicted.

        The reach is in pixels of the value's own map, rows and columns. Those in `everywhere` have (0, 0) as long as no
        convolution reads them, as have those that are only averaged.
        """
        found: dict[int, tuple[int, int]] = {}
        for number, step in enumerate(self.steps, 1):
            if not self.looks_around(number):
                continue
            for i in step.inputs:
                for part in self.parts(i) if step.kind == 'conv' else (i,):
                    if self.form(part) == 'rows':
                        before = found.get(part, (0, 0))
                        found[part] = tuple(map(max, zip(step.reach, before, strict=True)))  # type: ignore[assignment]
        return found

    @cached_property
    def everywhere(self) -> frozenset[int]:
        """Values of which whole maps are read, by steps that nothing is known of."""
        return frozenset(i for step in self.steps if step.kind == 'map' for i in step.inputs if self.form(i) == 'rows')

    @cached_property
    def on_demand(self) -> frozenset[int]:
        """Concatenations at active pixels that are put together where they are read: nothing needs them as a whole."""
        whole = {i for step in self.steps if step.kind in ('map', 'pool') for i in step.inputs}
        return frozenset(value for value, step in enumerate(self.steps, 1) if step.kind == 'cat' and step.form == 'rows'
                         and value not in whole and value != self.output)

    @cached_property
    def halo(self) -> int:
        """How many anchor pixels around the active ones predicted values are read."""
        return max((-(-max(reach) // self.scale(value)) for value, reach in self.contexts.items()), default=0)

    @cached_property
    def stages(self) -> list[list[int]]:
        """Values that can be computed together, tile by tile: none looks around itself in another of them."""
        number = [0] * (len(self.steps) + 1)
        for value, step in enumerate(self.steps, 1):
            number[value] = max((number[i] + self._waits(value, i) for i in step.inputs), default=0)
        stages: dict[tuple[int, bool], list[int]] = {}
        for value, step in enumerate(self.steps, 1):
            stages.setdefault((number[value], step.form == 'rows'), []).append(value)
        return [stages[key] for key in sorted(stages)]

    def _waits(self, value: int, source: int) -> bool:
        """Whether a source has to be finished before any of the value is computed."""
        if self.form(source) != 'rows':
            return False
        return self.steps[value - 1].form != 'rows' or self.looks_around(value)

    @cached_property
    def last_reader(self) -> list[int]:
        """For each value the number of the last step that reads it, or a part of it."""
        last = [0] * (len(self.steps) + 1)
        for number, step in enumerate(self.steps, 1):
            for i in step.inputs:
                for part in (i, *self.parts(i)):
                    last[part] = number
        return last

    @cached_property
    def last_use(self) -> list[int]:
        """For each value the number of the last stage that reads it."""
        last = [0] * (len(self.steps) + 1)
        for number, stage in enumerate(self.stages):
            for value in stage:
                for i in self.steps[value - 1].inputs:
                    for part in (i, *self.parts(i)):
                        last[part] = max(last[part], number)
        return last

    @cached_property
    def later_shapes(self) -> list[frozenset[tuple[int, int]]]:
        """For each stage, scale and channels of the values at active pixels that later stages make."""
        shapes = [{(self.scale(value), self.channels(value)) for value in stage if self.form(value) == 'rows'}
                  for stage in self.stages]
        return [frozenset().union(*shapes[number + 1:]) for number in range(len(shapes))]

    @cached_property
    def stage_of(self) -> list[int]:
        """For each value the number of its stage."""
        of = [0] * (len(self.steps) + 1)
        for number, stage in enumerate(self.stages):
            for value in stage:
                of[value] = number
        return of
