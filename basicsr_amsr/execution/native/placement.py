"""Where a program's maps lie for one size of image: borders, rows, one arena."""
from __future__ import annotations

import ctypes

from basicsr_amsr.execution.native.library import Library
from basicsr_amsr.execution.native.maps import Map, Patches
from basicsr_amsr.execution.native.operators import Op
from basicsr_amsr.execution.native.packing import Tables
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.tables import (
    PATCH,
    RESAMPLING,
    CList,
    CMap,
    CProgram,
    Layout,
    OpKind,
    StepKind,
)

GROUP = 12   # AMSR_GROUP
LINE = 128   # alignment of maps, bytes
SLACK = 512  # bytes behind a map that whole vectors at its end may read


def whole(size: int, edge: int) -> int:
    """Rounded up to whole patches."""
    return -(-size // edge) * edge


class Arena:
    """Memory of the library, zeroed; raises MemoryError. Freed with the object."""

    def __init__(self, library: Library, size: int) -> None:
        self.library, self.size = library, size
        self.address = library.c.amsr_allocate(size)
        if not self.address:
            raise MemoryError(f'{size / 1e6:.0f} MB for the maps of the native kernels')

    def clear(self) -> None:
        """Zero all of it."""
        ctypes.memset(self.address, 0, self.size)

    def __del__(self) -> None:
        if getattr(self, 'address', None):
            self.library.c.amsr_free(self.address, self.size)
            self.address = None


class Placement:
    """A program's maps for so many images of one height and width, run by so many threads.

    `c` is the program as the library takes it; planar maps and lists (`c_lists`) have no addresses yet.
    """

    def __init__(self, program: Program, tables: Tables, height: int, width: int, threads: int, chunk: int,
                 old: Arena | None, images: int = 1) -> None:
        self.size = (height, width, threads, chunk)
        self.images = images
        self.grids = [grid.size(height, width) for grid in program.grids]
        if any(side < 1 for grid in self.grids for side in grid):
            raise ValueError(f'an image of {height}x{width} is too small for this network: grids {self.grids}')
        self.extents = [(self.grids[each.grid.index][0] * each.scale, self.grids[each.grid.index][1] * each.scale)
                        for each in program.maps]
        self.c_maps = (CMap * len(program.maps))()
        self.program = program
        margins = self._margins()
        bases, self.map_bytes, self.local_bytes = self._lay_out(margins)
        self.c = self._c_program(tables, threads, chunk)
        self.c_lists = (CList * len(program.all_patches))(
            *(CList(0, self.patches_of(each), 0) for each in program.all_patches))
        self.c.list_table, self.c.lists = ctypes.addressof(self.c_lists), len(self.c_lists)
        self.c.scratch_bytes = tables.library.c.amsr_scratch(ctypes.byref(self.c))  # shorter lists need no more
        total = self.map_bytes + self.c.scratch_bytes + SLACK
        if old is not None and old.size >= total:
            self.arena = old
            old.clear()
        else:
            self.arena = Arena(tables.library, total)
        for each, base in zip(program.maps, bases, strict=True):
            self.c_maps[each.index].base = base + (self.arena.address if each.layout == Layout.NHWC else 0)
        self.c.scratch = self.arena.address + self.map_bytes
        self._ratios(tables)

    def patches_of(self, each: Patches) -> int:
        """Number of all patches of a list's grid."""
        height, width = self.grids[each.grid.index]
        return -(-height // each.edge) * -(-width // each.edge)

    def extent(self, one: Map) -> tuple[int, int]:
        """Height and width of a map in pixels."""
        return self.extents[one.index]

    def _margins(self) -> list[list[int]]:
        """For each map what is read around it, in pixels: before its first one, rows below, columns to the right."""
        margins = [[0, 0, 0] for _ in self.program.maps]
        for op in (op for each in self.program.passes for op in each.ops):
            if op.kind in RESAMPLING:
                reads: list[tuple[Map, Op | None]] = []
            else:
                reads = [(source.map, op) for source in op.sources]
            reads += [(step.source.map, None) for step in op.steps if step.source and step.kind != StepKind.MUL_PIXEL]
            if op.kind == OpKind.GATHER:
                margins[op.sources[0].map.index][:] = [1, 1, 1]  # of blocks
                reads = reads[1:]
            for one, how in reads:
                stride, pad, kernel = (how.stride, how.pad, how.kernel) if how else (1, 0, 1)
                margin = margins[one.index]
                margin[0] = max(margin[0], pad)
                at = op.out.map if op.kind != OpKind.MEAN else one
                for axis in (0, 1):
                    side = self.extent(at)[axis] // op.shuffle
                    last = (whole(side, op.edge) - 1) * stride - pad + kernel - 1
                    margin[1 + axis] = max(margin[1 + axis], last + 1 - self.extent(one)[axis])
        for storage in range(self.program.storages):  # maps that share memory have their zeros in the same places
            shared = [margins[each.index] for each in self.program.maps if each.storage == storage]
            for margin in shared[1:]:
                margin[:] = shared[0][:] = [max(pair) for pair in zip(margin, shared[0], strict=True)]
            for margin in shared:
                margin[:] = shared[0]
        return margins

    def _lay_out(self, margins: list[list[int]]) -> tuple[list[int], int, int]:
        at: dict[int, int] = {}  # storage to its address
        strides: dict[int, int] = {}
        end, local = 0, 0
        bases = []
        for each in self.program.maps:
            height, width = self.extent(each)
            low, below, right = margins[each.index]
            c = self.c_maps[each.index]
            c.layout, c.type, c.height, c.width, c.pixel = each.layout, each.type, height, width, each.pixel
            if each.layout == Layout.PLANAR:
                bases.append(0)
            elif each.layout == Layout.LOCAL:
                edge = PATCH * each.scale
                c.row, c.plane = edge * each.pixel, edge * edge * each.pixel
                bases.append(local)
                local += -(-GROUP * c.plane * each.bytes_each // LINE) * LINE
            else:
                columns = low + width + right
                if columns * each.pixel * each.bytes_each % 2048 == 0:
                    columns += 1  # else the rows of a patch fall into the same sets of the cache
                c.row = columns * each.pixel
                if each.storage not in at:
                    at[each.storage] = end
                    c.image = self._apart((low + height + below) * c.row * each.bytes_each) // each.bytes_each
                    end += -(-(self.images * c.image * each.bytes_each + SLACK) // LINE) * LINE
                    strides[each.storage] = c.image
                c.image = strides[each.storage]
                bases.append(at[each.storage] + low * (c.row + c.pixel) * each.bytes_each)
        return bases, -(-end // 4096) * 4096, local + SLACK

    def _apart(self, size: int) -> int:
        """Bytes from a map to that of the next image."""
        lines = -(-size // LINE)
        return (lines + (self.images > 1 and not lines % 2)) * LINE  # else they fall into the same sets of the cache

    def _c_program(self, tables: Tables, threads: int, chunk: int) -> CProgram:
        c = CProgram()
        for name in ('op', 'source', 'step', 'pass'):
            table = getattr(tables, {'op': 'c_ops', 'source': 'c_sources', 'step': 'c_steps', 'pass': 'c_passes'}[name])
            setattr(c, f'{name}_table', ctypes.addressof(table))
        c.map_table, c.maps = ctypes.addressof(self.c_maps), len(self.c_maps)
        for name, count in tables.counts.items():
            setattr(c, name, count)
        c.threads, c.chunk, c.images, c.local_bytes = threads, chunk, self.images, self.local_bytes
        return c

    def _ratios(self, tables: Tables) -> None:
        for c, op in zip(tables.c_ops, tables.ops, strict=True):
            if op.kind == OpKind.MEAN:
                height, width = self.extent(op.sources[0].map)
                c.value[0] = 1 / (height * width)
            elif op.kind in (OpKind.BILINEAR, OpKind.NEAREST):
                source, out = self.extent(op.sources[0].map), self.extent(op.out.map)
                for axis in (0, 1):
                    c.value[axis] = op.ratio[axis] if op.ratio else source[axis] / (out[axis] // op.shuffle)
