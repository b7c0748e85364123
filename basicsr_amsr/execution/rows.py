"""The values of a unit at the active pixels, one row of channels per pixel."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from basicsr_amsr.execution.active import ActivePatches, Gather, pixel_rows, write
from basicsr_amsr.execution.backends.interface import Backend, Place, Read
from basicsr_amsr.execution.fusion import PLAIN, Epilogue, Fused
from basicsr_amsr.execution.plan import Plan, reach
from basicsr_amsr.execution.unit import Node


class Rows:
    """Computes the values of a unit chunk by chunk.

    Args:
        plan: of the unit.
        x: (B, C, H, W), the unit's input.
        active: where its output is wanted.
        stored: values that are complete, as rows (pixels + 1, C) with zeros in the last, or (B, C, 1, 1) of images.
        backend: what convolves.
    """

    def __init__(self, plan: Plan, x: torch.Tensor, active: ActivePatches, stored: dict[int, torch.Tensor],
                 backend: Backend) -> None:
        self.plan, self.active, self.stored, self.backend = plan, active, stored, backend
        self.pixels = pixel_rows(x)
        self.batch = len(x)
        self.local: dict[int, torch.Tensor] = {}
        self.outer: dict[int, torch.Tensor] = {}

    def start_chunk(self, number: int, own: Gather) -> None:
        """Turn to a chunk of pixels."""
        self.number, self.own = number, own
        self.start = number * self.active.chunk * self.active.size**2
        self.local = {}

    def run(self, fused: Fused, keep: bool, out: tuple[torch.Tensor, Gather] | None = None) -> None:
        """Compute a value at the chunk's pixels; `keep` it for later stages, or write it into rows of `out`."""
        if fused.conv is None:
            self.local[fused.value] = self.compute(fused.value)
            if keep:
                self.keep(fused.value)
            if out is not None:
                target, own = out
                write(own, self.local[fused.value].to(target.dtype), target)
            return
        place = None
        if out is not None:
            place = Place(lambda dtype: out[0], out[1])
        elif keep:
            channels = self.plan.unit.nodes[fused.conv - 1].call.out_channels  # type: ignore[attr-defined]
            place = Place(lambda dtype: self._room(fused.value, channels, dtype))
        self.local[fused.value] = self._convolve(self.plan.unit.nodes[fused.conv - 1], fused.epilogue, place)

    def compute(self, value: int) -> torch.Tensor:
        """A value at the chunk's pixels, (n, C)."""
        node = self.plan.unit.nodes[value - 1]
        if node.kind == 'conv':
            return self._convolve(node)
        return node.call(*(self.read(i)[..., None, None] for i in node.inputs))[..., 0, 0]

    def read(self, value: int) -> torch.Tensor:
        """A value at the chunk's pixels, (n, C), from wherever it is."""
        return self.source(value).fetch()

    def source(self, value: int) -> Read:
        """Where a value at the chunk's pixels is."""
        if value in self.local:
            return Read(self.local[value])
        if value == 0:
            return Read(self.pixels, self.own)
        if self.plan.on_demand[value]:
            return Read(self.compute(value))
        stored = self.stored[value]
        if self.plan.of_image[value]:
            return Read(stored.flatten(1), self.active.images[self.number])
        return Read(stored[self.start:self.start + len(self.own.rows)])

    def keep(self, value: int) -> None:
        """Store the chunk's rows of a value."""
        rows = self.local[value]
        self._room(value, rows.shape[1], rows.dtype).copy_(rows)

    def _room(self, value: int, channels: int, dtype: torch.dtype) -> torch.Tensor:
        """Where the chunk's rows of a value are stored."""
        if value not in self.stored:
            count = self.active.count * self.active.size**2
            self.stored[value] = self.pixels.new_empty(count + 1, channels, dtype=dtype)
            self.stored[value][-1] = 0
        return self.stored[value][self.start:self.start + len(self.own.rows)]

    def compute_image(self, value: int) -> torch.Tensor:
        """A value of whole images, (B, C, 1, 1)."""
        node = self.plan.unit.nodes[value - 1]
        if node.kind != 'pool':
            return node.call(*(self.stored[i] for i in node.inputs))
        total = None
        for number, own in enumerate(self.active.own()):
            self.start_chunk(number, own)
            rows = self.read(node.inputs[0])
            if own.outside is not None:
                rows = rows.index_fill(0, own.outside, 0)
            if total is None:
                wide = torch.promote_types(rows.dtype, torch.float32)
                total = rows.new_zeros(self.batch, rows.shape[1], dtype=wide)
            total.index_add_(0, self.active.images[number].rows, rows.to(total.dtype))
        assert total is not None
        return (total / self.active.per_image).to(rows.dtype)[..., None, None]

    def _convolve(self, node: Node, epilogue: Epilogue = PLAIN, place: Place | None = None) -> torch.Tensor:
        conv, size = node.call, self.active.size
        assert isinstance(conv, nn.Conv2d)
        parts = self.plan.parts(node.inputs[0])
        if reach(node) == (0, 0):
            reads = [self.source(part) for part in parts]
        else:
            # For patches the patch with its halo, for single pixels only the kernel's taps.
            offsets: list[Sequence[int]] = [range(-r, size + r, dilation if size == 1 else 1)
                                            for r, dilation in zip(reach(node), conv.dilation, strict=True)]
            reads = [self._around(part, offsets) for part in parts]
        if epilogue.added is not None:
            epilogue = epilogue._replace(added=self.source(epilogue.added))
        return self.backend.convolve(conv, reads, size, epilogue, place)

    def _around(self, value: int, offsets: list[Sequence[int]]) -> Read:
        """A value at the offsets from each of the chunk's patches; 0 where it is not known, or the image ends."""
        if not self.plan.outer[value]:
            return Read(self.stored[value], self.active.gathers_within(*offsets)[self.number])
        gather = self.active.gathers(*offsets)[self.number]
        if value == 0:
            return Read(self.pixels, gather)
        if self.backend.whole:  # made once at all pixels, and read from there
            if value not in self.outer:
                self.outer[value] = self._outer(value, None)
            return Read(self.outer[value], gather)
        return Read(gather.clear(self._outer(value, gather)))

    def _outer(self, value: int, gather: Gather | None) -> torch.Tensor:
        """A value made of the input alone, at listed pixels or at all."""
        if value == 0:
            return self.pixels if gather is None else gather.read(self.pixels)
        node = self.plan.unit.nodes[value - 1]
        return node.call(*(self._outer(i, gather)[..., None, None] for i in node.inputs))[..., 0, 0]
