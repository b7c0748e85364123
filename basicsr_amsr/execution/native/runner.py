"""Runs a program over images: weights packed once, maps laid out once for a size, one call of the library an image."""
from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping

import numpy as np
import torch

from basicsr_amsr.execution.native.check_program import check_program
from basicsr_amsr.execution.native.library import Library, address
from basicsr_amsr.execution.native.maps import Map, Patches
from basicsr_amsr.execution.native.packing import Tables
from basicsr_amsr.execution.native.placement import Arena, Placement
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.tables import PATCH, Layout

CHUNK = 96       # patches of each step of a wavefront: 48 a thread on two, whose maps fit an L2 of 1 MB
CHUNK_AMX = 768  # where the L2 has 2 MB and bf16 takes a third of the time


def chunk_for(library: Library) -> int:
    """How `Runner` cuts wavefronts if nobody says: where vectors are shorter than AVX-512's, not at all.

    Products take twice as long there, so that less is won by maps that stay in the L2 than is lost by threads that wait
    for each other at every step: on AVX2 (Zen 3) whole networks took 9 to 14 % longer with any chunk from 32 to 384.
    On a Xeon with AMX 768 in place of 96 takes 4 to 11 % off them in float32 and 10 to 20 % in bf16.
    """
    if library.lanes < 16:
        return 0
    return CHUNK_AMX if library.isa == 'avx512amx' else CHUNK


def every_patch(height: int, width: int, edge: int = PATCH) -> np.ndarray:
    """The positions (y, x), in patches, of all patches of a grid: (N, 2), int16, sorted by rows."""
    rows, columns = -(-height // edge), -(-width // edge)
    return np.ascontiguousarray(np.indices((rows, columns), np.int16).reshape(2, -1).T)


def _lie_in(origins: np.ndarray, shape: tuple[int, int, int], tensor: torch.Tensor) -> bool:
    """Whether images of a shape (channels, height, width) that begin at `origins` lie within a tensor."""
    if tensor.dim() < 3 or not tensor.is_contiguous() or origins.dtype != np.int64 or not origins.flags.c_contiguous:
        return False
    end = sum((side - 1) * stride for side, stride in zip(shape, tensor.stride()[-3:], strict=True))
    return bool(not len(origins) or (origins.min() >= 0 and origins.max() + end < tensor.numel()))


class Runner:
    """A program with packed weights and memory. Safe to call from several threads: they take turns.

    Args:
        program: whose declarations are finished.
        library: from `library.library()`.
        threads: by default as many as torch has when an image is run.
        chunk: patches of a wavefront's step, times its passes; 0: no wavefront; by default `chunk_for` the library.
        most: images of one size that one call may compute; more than one go without wavefront.
    """

    def __init__(self, program: Program, library: Library, threads: int | None = None,
                 chunk: int | None = None, most: int = 1) -> None:
        check_program(program)
        self.program, self.library, self.threads = program, library, threads
        self.chunk = chunk_for(library) if chunk is None else chunk
        self.most = most
        self.tables = Tables(program, library)
        self._placement: Placement | None = None
        self._arena: Arena | None = None
        self._lock = threading.Lock()
        self._images = [each for each in program.maps if each.layout == Layout.PLANAR]
        self._written = {op.out.map for each in program.passes for op in each.ops}
        self._full: list[tuple[int, int, np.ndarray]] = []  # of each list its address and length
        self._near = {each.patches for each in program.passes for op in each.ops if op.reach}

    @property
    def bytes(self) -> int:
        """How much memory is taken by packed weights and by the maps of the largest image so far."""
        return sum(array.nbytes for array in self.tables.memory) + (self._arena.size if self._arena else 0)

    def pack(self) -> None:
        """Read weights, biases and vectors anew."""
        with self._lock:
            self.tables.pack()

    def run(self, images: Mapping[Map, torch.Tensor], patches: Mapping[Patches, np.ndarray] | None = None,
            size: tuple[int, int] | None = None, near: Mapping[Patches, np.ndarray] | None = None,
            sound: bool = False, origins: Mapping[Map, np.ndarray] | None = None) -> None:
        """Compute one image, or several of one size.

        Args:
            images: for each `image` map of the program a float32 CPU tensor (channels, height, width), or, for several,
                (number, channels, height, width); inputs in any layout, outputs with contiguous rows.
            patches: positions of active patches for the lists that are not to be full: (N, 2), int16, y and x in
                patches, each once, in any order (a wavefront needs them sorted by y).
            size: the image's height and width; by default that of the first of `images` on the image's own grid.
            near: for lists that `predict` uses with a reach, which neighbours of each patch are active: (N,), uint8,
                a bit each, those above, beside, below from left to right.
            sound: the lists are the library's own (`lists_of`), for an image of that size: they are not checked.
            origins: where the images lie in a larger tensor, for each `image` map or none: elements from its first to
                each image's, int64. These tensors are contiguous, (…, channels, height, width) of any height and width.

        Raises:
            ValueError: a tensor or list does not fit.
            MemoryError: there is no memory for the maps.
        """
        with self._lock:
            if self.library.isa != self.tables.isa:
                self.tables = Tables(self.program, self.library)
                self._placement = None
            placement = self._place(*(size or self._image_size(images)))
            placement.c.images = self._number(images, origins or {})
            for each in self._images:
                self._set_image(placement, each, images, origins or {})
            lists, given = placement.c_lists, patches or {}
            for listed in self.program.all_patches:
                c = lists[listed.index]
                if listed in given:
                    array = given[listed]
                    if not sound:
                        self._check_list(placement, listed, array)
                    c.patches, c.count = address(array), len(array)
                else:
                    c.patches, c.count, _ = self._full[listed.index]
                if listed in self._near:
                    c.near = self._neighbours(listed, c.count, near or {})
            if self.library.c.amsr_run(ctypes.byref(placement.c)):
                raise RuntimeError('the native library refused a program: its scratch memory does not fit')

    def view(self, one: Map) -> torch.Tensor:
        """What a map holds after a run, (height, width, channels), until the next run; no copy."""
        placement = self._placement
        if placement is None or one.layout != Layout.NHWC:
            raise ValueError(f'{one} is no map of an image that was run')
        c, (height, width) = placement.c_maps[one.index], placement.extent(one)
        elements = (height - 1) * c.row + width * c.pixel
        memory = (ctypes.c_char * (elements * one.bytes_each)).from_address(c.base)
        flat = torch.frombuffer(memory, dtype=torch.bfloat16 if one.bytes_each == 2 else torch.float32)
        return flat.as_strided((height, width, one.channels), (c.row, c.pixel, 1))

    def _image_size(self, images: Mapping[Map, torch.Tensor]) -> tuple[int, int]:
        for each in self._images:
            if each.grid is self.program.image_grid and each in images:
                height, width = images[each].shape[-2:]
                return height // each.scale, width // each.scale
        raise ValueError('no image of the image\'s own grid is given: its size is not known')

    def _number(self, images: Mapping[Map, torch.Tensor], origins: Mapping[Map, np.ndarray]) -> int:
        numbers = {len(origins[one]) if one in origins else len(each) if each.dim() == 4 else 1
                   for one, each in images.items()}
        number = max(numbers, default=1)
        if len(numbers) > 1 or not 1 <= number <= self.most:
            raise ValueError(f'{sorted(numbers)} images: as many of each map, and {self.most} at most')
        return number

    def _place(self, height: int, width: int) -> Placement:
        threads = min(self.threads or torch.get_num_threads(), 255)
        if self._placement is None or self._placement.size != (height, width, threads, self.chunk):
            self._placement = None
            made = Placement(self.program, self.tables, height, width, threads, self.chunk, self._arena, self.most)
            whole = [every_patch(*made.grids[each.grid.index], each.edge) for each in self.program.all_patches]
            self._full = [(address(each), len(each), each) for each in whole]
            self._placement, self._arena = made, made.arena
        return self._placement

    def _set_image(self, placement: Placement, each: Map, images: Mapping[Map, torch.Tensor],
                   origins: Mapping[Map, np.ndarray]) -> None:
        wanted = (each.channels, *placement.extents[each.index])
        tensor = images.get(each)
        if tensor is None:
            raise ValueError(f'{each} is not given: a tensor {wanted} is needed')
        within = origins.get(each)
        fits = tuple(tensor.shape[-3:]) == wanted and tensor.dim() <= 4 if within is None else _lie_in(
            within, wanted, tensor)
        if not fits or tensor.dtype != torch.float32 or tensor.device.type != 'cpu':
            raise ValueError(f'{each} is {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device}: '
                             f'{wanted}, torch.float32, cpu is needed' + (', around its origins' if origins else ''))
        image, plane, row, pixel = (tensor if tensor.dim() >= 4 else tensor[None]).stride()[-4:]
        if each in self._written and pixel != 1 and tensor.shape[-1] > 1:
            raise ValueError(f'{each} has strides {tensor.stride()}: rows of what is written must be contiguous')
        c = placement.c_maps[each.index]
        c.base, c.image, c.plane, c.row, c.pixel = tensor.data_ptr(), image, plane, row, pixel
        c.origins = None if within is None else address(within)

    def _neighbours(self, each: Patches, number: int, given: Mapping[Patches, np.ndarray]) -> int:
        marks = given.get(each)
        if marks is None or marks.dtype != np.uint8 or marks.shape != (number,) or not marks.flags.c_contiguous:
            raise ValueError(f'for a list of {number} patches contiguous uint8 ({number},) is needed: which of their '
                             'neighbours are active')
        return address(marks)

    def _check_list(self, placement: Placement, each: Patches, array: np.ndarray) -> None:
        if array.dtype != np.int16 or array.ndim != 2 or array.shape[1] != 2 or not array.flags.c_contiguous:
            raise ValueError(f'patches are {array.dtype} {array.shape}: contiguous int16 (N, 2) is needed')
        height, width = placement.grids[each.grid.index]
        rows, columns = -(-height // each.edge), -(-width // each.edge)
        seen = np.empty(rows * columns, np.uint8)
        wrong = self.library.c.amsr_check_list(address(array), len(array), rows, columns, address(seen))
        if wrong == 1:
            raise ValueError(f'patches up to {tuple(array.max(0))}, from {tuple(array.min(0))}: '
                             f'the grid has {rows}x{columns}')
        if wrong:
            raise ValueError('a patch is listed twice')
