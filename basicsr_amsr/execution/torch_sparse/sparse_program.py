"""A graph with its rules, and in which order the torch executor computes it patch by patch."""
from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

from basicsr_amsr.execution.fusion import Fused, fused
from basicsr_amsr.execution.graph.ops import Conv
from basicsr_amsr.execution.graph.rules import Rules
from basicsr_amsr.execution.graph.sizes import Size


@dataclass(frozen=True)
class Program(Rules):
    """A network as the torch executor runs it: where each value is known, and in which stage it is computed."""

    def inputs(self, value: int) -> tuple[int, ...]:
        """The values that a value is made of."""
        return self.graph.ops[value - 1].inputs

    @property
    def skipped_weights(self) -> list[str]:
        """The weights of convolutions that run at active pixels alone."""
        return [op.weight for value, op in enumerate(self.graph.ops, 1)
                if isinstance(op, Conv) and self.form(value) == 'rows']

    def holds_for(self, size: tuple[int, int, int]) -> bool:
        """Whether this is what the network does to b images of h × w; size is (b, h, w).

        A free number of images is one from 2 on to torch.export, which has one image as a case of its own.
        """
        batch, height, width = size
        return self.graph.holds_for((max(batch, 2) if isinstance(self.graph.image[0], Size) else batch, height, width))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what is computed, without weights: the same for all networks built alike."""
        facts = [(*self.inputs(value), fact.kind, fact.form, fact.scale, fact.channels, fact.reach)
                 for value, fact in enumerate(self.facts) if value]
        return hashlib.sha256(repr((facts, self.anchor, self.output)).encode()).hexdigest()[:16]

    def numbers(self, value: int, size: int) -> int:
        """The most numbers that one patch takes in memory while a value is computed, read or written."""
        fact = self.facts[value]
        side = size * fact.scale
        written = side**2 * fact.channels
        if fact.kind != 'conv':
            return written
        read = sum(self.channels(part) for part in self.parts(self.inputs(value)[0]))
        return max(written, read * math.prod(side + 2 * reach for reach in fact.reach))

    @cached_property
    def on_demand(self) -> frozenset[int]:
        """Concatenations at active pixels that are put together where they are read: nothing needs them as a whole."""
        whole = {i for value in self.values if self.facts[value].kind in ('map', 'pool') for i in self.inputs(value)}
        return frozenset(value for value in self.values if self.facts[value].kind == 'cat'
                         and self.form(value) == 'rows' and value not in whole and value != self.output)

    @property
    def values(self) -> range:
        """All values but the image."""
        return range(1, len(self.facts))

    @cached_property
    def stages(self) -> list[list[int]]:
        """Values that can be computed together, patch by patch: none looks around itself in another of them."""
        number = [0] * len(self.facts)
        stages: dict[tuple[int, bool], list[int]] = {}
        for value in self.values:
            number[value] = max((number[i] + self._waits(value, i) for i in self.inputs(value)), default=0)
            stages.setdefault((number[value], self.form(value) == 'rows'), []).append(value)
        return [stages[key] for key in sorted(stages)]

    @cached_property
    def steps(self) -> list[list[Fused]]:
        """For each stage what is computed patch by patch."""
        convs = {value for value in self.values if self.facts[value].kind == 'conv'}
        return [fused([value for value in stage if self.form(value) == 'rows' and value not in self.on_demand],
                      self.graph.ops, convs, self.readers, self.kept) for stage in self.stages]

    @cached_property
    def kept(self) -> frozenset[int]:
        """Values at active pixels that are needed after their stage."""
        return frozenset(value for value in self.values if value not in self.on_demand and self.form(value) == 'rows'
                         and (self.last_use[value] > self.stage_of[value] or value == self.output))

    def _waits(self, value: int, source: int) -> bool:
        """Whether a source has to be finished before any of the value is computed."""
        return self.form(source) == 'rows' and (self.form(value) != 'rows' or self.looks_around(value))

    @cached_property
    def last_reader(self) -> list[int]:
        """For each value the last value that reads it, or a part of it."""
        last = [0] * len(self.facts)
        for value in self.values:
            for i in self.inputs(value):
                for part in (i, *self.parts(i)):
                    last[part] = value
        return last

    @cached_property
    def last_use(self) -> list[int]:
        """For each value the number of the last stage that reads it."""
        last = [0] * len(self.facts)
        for number, stage in enumerate(self.stages):
            for value in stage:
                for i in self.inputs(value):
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
        of = [0] * len(self.facts)
        for number, stage in enumerate(self.stages):
            for value in stage:
                of[value] = number
        return of
