"""In which order a unit's values are computed at the active pixels."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from basicsr_amsr.execution.unit import Node, Unit

Reach = tuple[int, int]  # rows and columns


def reach(node: Node) -> Reach:
    """How far a node looks."""
    return conv_reach(node.call) if isinstance(node.call, nn.Conv2d) else (0, 0)


def conv_reach(conv: Any) -> Reach:
    """How far a convolution looks."""
    return tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True)
class Plan:
    """What is known of a unit's values (0: its input) before there is an image.

    Attributes:
        unit: the unit.
    """

    unit: Unit

    @cached_property
    def outer(self) -> list[bool]:
        """Values made of the input pixel by pixel, without any convolution: known at all pixels."""
        outer = [True]
        for node in self.unit.nodes:
            outer.append(node.kind in ('pointwise', 'cat') and all(outer[i] for i in node.inputs))
        return outer

    @cached_property
    def of_image(self) -> list[bool]:
        """Values of whole images (B, C, 1, 1), not of pixels."""
        flags = [False]
        for node in self.unit.nodes:
            flags.append(node.kind == 'pool' or all(flags[i] for i in node.inputs))
        return flags

    @cached_property
    def on_demand(self) -> list[bool]:
        """Values that are not kept but put together where they are read: outer ones and concatenations."""
        kinds = ['', *(node.kind for node in self.unit.nodes)]
        return [outer or kind == 'cat' for outer, kind in zip(self.outer, kinds, strict=True)]

    def parts(self, value: int) -> list[int]:
        """The values whose concatenation is read, or the value alone."""
        node = self.unit.nodes[value - 1] if value else None
        if node is None or node.kind != 'cat' or self.outer[value]:
            return [value]
        return [part for i in node.inputs for part in self.parts(i)]

    @cached_property
    def stages(self) -> list[list[int]]:
        """Values that can be computed together, chunk by chunk: none looks at its neighbours in another of them.

        A stage is of values of images, or of pixels.
        """
        number = [0] * (len(self.unit.nodes) + 1)
        stages: dict[tuple[int, bool], list[int]] = {}
        for value, node in enumerate(self.unit.nodes, 1):
            number[value] = max(number[i] + self._waits(value, node, i) for i in node.inputs)
            if not self.on_demand[value]:
                stages.setdefault((number[value], self.of_image[value]), []).append(value)
        return [stages[key] for key in sorted(stages, key=lambda key: (key[0], not key[1]))]

    def _waits(self, value: int, node: Node, source: int) -> bool:
        """Whether a source has to be finished before any of the value is computed."""
        if self.outer[source] or self.on_demand[value]:
            return False
        other_kind = self.of_image[source] != self.of_image[value]
        return other_kind or (not self.of_image[value] and reach(node) != (0, 0))

    def read_later(self, value: int, stage: list[int]) -> bool:
        """Whether another stage reads a value of this one."""
        return any(value in self._sources(other) for group in self.stages if group is not stage for other in group)

    def _sources(self, value: int) -> set[int]:
        """The values that are kept which a value is made of."""
        found: set[int] = set()
        for i in self.unit.nodes[value - 1].inputs:
            found |= self._sources(i) if i and self.on_demand[i] else {i}
        return found
