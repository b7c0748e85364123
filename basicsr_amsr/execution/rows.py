"""The values of a unit at the active pixels, one row of channels per pixel."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.active import ActiveTiles, Gather, pixel_rows
from basicsr_amsr.execution.plan import Plan, reach
from basicsr_amsr.execution.unit import Node


class Rows:
    """Computes the values of a unit chunk by chunk.

    Args:
        plan: of the unit.
        x: (B, C, H, W), the unit's input.
        active: where its output is wanted.
        stored: values that are complete, as rows (pixels + 1, C) with zeros in the last, or (B, C, 1, 1) of images.
    """

    def __init__(self, plan: Plan, x: torch.Tensor, active: ActiveTiles, stored: dict[int, torch.Tensor]) -> None:
        self.plan, self.active, self.stored = plan, active, stored
        self.pixels = pixel_rows(x)
        self.batch, self.area = len(x), x.shape[2] * x.shape[3]
        self.local: dict[int, torch.Tensor] = {}

    def where(self, value: int) -> ActiveTiles:
        """At which pixels a value is kept."""
        return self.active.dilated(*self.plan.halo[value]) if self.active.size == 1 else self.active

    def start_chunk(self, where: ActiveTiles, number: int, own: Gather) -> None:
        """Turn to a chunk of pixels."""
        self.chunk_of, self.number, self.own = where, number, own
        self.start = number * where.chunk * where.size**2
        self.local = {}

    def compute(self, value: int) -> torch.Tensor:
        """A value at the chunk's pixels, (n, C)."""
        node = self.plan.unit.nodes[value - 1]
        if node.kind == 'conv':
            return self._convolve(node)
        return node.call(*(self.read(i)[..., None, None] for i in node.inputs))[..., 0, 0]

    def read(self, value: int) -> torch.Tensor:
        """A value at the chunk's pixels, (n, C), from wherever it is."""
        if value in self.local:
            return self.local[value]
        if value == 0:
            return self.own.read(self.pixels)
        if self.plan.on_demand[value]:
            return self.compute(value)
        stored = self.stored[value]
        if self.plan.of_image[value]:
            return stored.flatten(1).index_select(0, self.own.rows // self.area)
        where = self.where(value)
        if where is self.chunk_of:
            return stored[self.start:self.start + len(self.own.rows)]
        return self.chunk_of.gathers_from(where, [0], [0])[self.number].read(stored)

    def keep(self, value: int) -> None:
        """Store the chunk's rows of a value."""
        rows, where = self.local[value], self.chunk_of
        if value not in self.stored:
            self.stored[value] = rows.new_empty(where.count * where.size**2 + 1, rows.shape[1])
            self.stored[value][-1] = 0
        self.stored[value][self.start:self.start + len(rows)] = rows

    def compute_image(self, value: int) -> torch.Tensor:
        """A value of whole images, (B, C, 1, 1)."""
        node = self.plan.unit.nodes[value - 1]
        if node.kind != 'pool':
            return node.call(*(self.stored[i] for i in node.inputs))
        total = None
        for number, own in enumerate(self.active.own()):
            self.start_chunk(self.active, number, own)
            rows = self.read(node.inputs[0])
            if own.outside is not None:
                rows = rows.index_fill(0, own.outside, 0)
            if total is None:
                wide = torch.promote_types(rows.dtype, torch.float32)
                total = rows.new_zeros(self.batch, rows.shape[1], dtype=wide)
            total.index_add_(0, own.rows // self.area, rows.to(total.dtype))
        assert total is not None
        count = self.active.mask.flatten(1).sum(1, keepdim=True).clamp(min=1)
        return (total / count).to(rows.dtype)[..., None, None]

    def _convolve(self, node: Node) -> torch.Tensor:
        conv, size = node.call, self.chunk_of.size
        assert isinstance(conv, nn.Conv2d)
        if reach(node) == (0, 0):
            return convolve_rows(conv, self.read(node.inputs[0]), size)
        # For tiles the tile with its halo, for single pixels only the kernel's taps.
        offsets: list[Sequence[int]] = [range(-r, size + r, dilation if size == 1 else 1)
                                        for r, dilation in zip(reach(node), conv.dilation, strict=True)]
        parts = [self._around(part, offsets) for part in self.plan.parts(node.inputs[0])]
        return convolve_rows(conv, torch.cat(parts, 1) if len(parts) > 1 else parts[0], size)

    def _around(self, value: int, offsets: list[Sequence[int]]) -> torch.Tensor:
        """A value at the offsets from each of the chunk's tiles; 0 where it is not known, or the image ends."""
        if not self.plan.outer[value]:
            return self.chunk_of.gathers_from(self.where(value), *offsets)[self.number].read(self.stored[value])
        gather = self.chunk_of.gathers(*offsets)[self.number]
        return gather.clear(self._outer(value, gather))

    def _outer(self, value: int, gather: Gather) -> torch.Tensor:
        if value == 0:
            return gather.read(self.pixels)
        node = self.plan.unit.nodes[value - 1]
        return node.call(*(self._outer(i, gather)[..., None, None] for i in node.inputs))[..., 0, 0]


def convolve_rows(conv: nn.Conv2d, read: torch.Tensor, size: int) -> torch.Tensor:
    """The convolution of what was gathered around tiles: (tiles · size², out channels)."""
    (rows, cols), channels = reach(Node('conv', (0,), conv)), conv.in_channels
    if conv.kernel_size == (1, 1) and conv.groups == 1:
        return F.linear(read, conv.weight.flatten(1), conv.bias)
    if size > 1:
        patches = read.view(-1, size + 2 * rows, size + 2 * cols, channels)
        return pixel_rows(unpadded(conv, patches.permute(0, 3, 1, 2)))
    if conv.groups > 1:
        patches = read.view(-1, *conv.kernel_size, channels).permute(0, 3, 1, 2)
        return F.conv2d(patches, conv.weight, conv.bias, groups=conv.groups).flatten(1)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # a view of channels-last weights
    return F.linear(read.reshape(-1, weight.shape[1]), weight, conv.bias)


def unpadded(conv: nn.Conv2d, patches: torch.Tensor) -> torch.Tensor:
    """The convolution without its padding."""
    return F.conv2d(patches, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups)
