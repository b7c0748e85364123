"""A native program: maps and operators, declared once for a network, run once for each image. README.md beside this
file explains it with an example; nothing here computes.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from basicsr_amsr.execution.native.check_program import TAPS, check_op
from basicsr_amsr.execution.native.maps import TYPES, Channels, Grid, Map, Patches, Slice, channels_of
from basicsr_amsr.execution.native.operators import Declarations, Op, Pass
from basicsr_amsr.execution.native.steps import Step, Values
from basicsr_amsr.execution.native.tables import PATCH, Layout, OpKind, Type

METHODS = {'direct': OpKind.CONV, 'winograd': OpKind.WINOGRAD, 'winograd6': OpKind.WINOGRAD6}
RESIZING = {'bilinear': OpKind.BILINEAR, 'nearest': OpKind.NEAREST}


class Program(Declarations):
    """Declares maps and operators in the order in which they run.

    Sizes are unknown here: `Runner(program)` (runner.py) packs weights, lays maps out for an image and runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.grids: list[Grid] = [self.image_grid]
        self.storages = 0
        self.all_patches: list[Patches] = [Patches(self.image_grid)]
        self._stages = 0
        self._open_stage: int | None = None
        self._open_pass: Pass | None = None

    # what there is

    def grid(self, size: Callable[[int, int], tuple[int, int]]) -> Grid:
        """A resolution of its own; `size(height, width)` of the image gives its height and width."""
        self.grids.append(Grid(size, len(self.grids)))
        self.patches(self.grids[-1])
        return self.grids[-1]

    def patches(self, grid: Grid | None = None, edge: int = PATCH) -> Patches:
        """A list of patches of a grid that `run` may be given for each image; else it holds all patches."""
        self.all_patches.append(Patches(grid or self.image_grid, len(self.all_patches), edge))
        return self.all_patches[-1]

    def every_patch(self, grid: Grid | None = None) -> Patches:
        """The list of a grid that operators use where none is named."""
        return next(each for each in self.all_patches if each.grid is (grid or self.image_grid))

    def map(self, channels: int, *, scale: int = 1, dtype: str = 'float32', grid: Grid | None = None,
            pixel: int | None = None, share: Map | None = None, name: str = '') -> Map:
        """A map of the whole grid, channels last.

        Args:
            scale: pixels a side for each pixel of the grid.
            dtype: 'float32' or 'bfloat16'.
            pixel: elements from pixel to pixel; by default `channels` up to 4, else rounded up to a multiple of 16.
            share: a map of the same grid, scale, dtype and pixel whose memory this one may use, when its values are not
                needed any more.
        """
        return self._map(channels, scale, dtype, grid, pixel, Layout.NHWC, share, name)

    def local(self, channels: int, *, scale: int = 1, dtype: str = 'float32', grid: Grid | None = None,
              name: str = '') -> Map:
        """A map that exists for one group of patches, within one pass: written and read pixel by pixel there."""
        return self._map(channels, scale, dtype, grid, None, Layout.LOCAL, None, name)

    def blocks(self, scale: int, *, name: str = '') -> Map:
        """What `scatter` sums to, for each patch of the image, and `gather` reads."""
        if self.block_grid is None:
            self.block_grid = self.grid(lambda height, width: (-(-height // PATCH), -(-width // PATCH)))
        return self.map((PATCH * scale + 2) ** 2 * 4, grid=self.block_grid, name=name)

    def image(self, channels: int, *, scale: int = 1, grid: Grid | None = None, name: str = '') -> Map:
        """A float32 tensor of the caller, one plane a channel, that `run` is given: input or output."""
        return self._map(channels, scale, 'float32', grid, 1, Layout.PLANAR, None, name)

    def _map(self, channels: int, scale: int, dtype: str, grid: Grid | None, pixel: int | None, layout: Layout,
             share: Map | None, name: str) -> Map:
        if channels < 1 or not scale >= 1:
            raise ValueError(f'a map of {channels} channels at scale {scale}')
        pixel = pixel or (channels if channels <= 4 else (channels + 15) // 16 * 16)
        if pixel < channels and layout != Layout.PLANAR:
            raise ValueError(f'{channels} channels do not fit pixels of {pixel}')
        made = Map(len(self.maps), grid or self.image_grid, scale, channels, pixel, TYPES[dtype], layout,
                   share.storage if share else self.storages, name)
        if share and (share.grid, share.scale, share.pixel, share.type, share.layout) != (
                made.grid, made.scale, made.pixel, made.type, made.layout):
            raise ValueError(f'{made} cannot share the memory of {share}: grid, scale, dtype or pixel differ')
        self.storages += 0 if share else 1
        self.maps.append(made)
        return made

    @property
    def is_open(self) -> bool:
        """Whether a group of operators that run together is being declared."""
        return self._open_pass is not None

    # what happens

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Passes declared inside run as a wavefront over rows of patches, where their lists are sorted by rows."""
        if self._open_stage is not None or self._open_pass is not None:
            raise ValueError('stages cannot be nested')
        self._open_stage = self._stages
        self._stages += 1
        try:
            yield
        finally:
            self._open_stage = None

    @contextmanager
    def fused(self, patches: Patches | None = None) -> Iterator[None]:
        """Operators declared inside run together: all of them on one group of patches, then on the next."""
        if self._open_pass is not None:
            raise ValueError('fused groups cannot be nested')
        self._open_pass = self._new_pass(patches or self.every_patch())
        try:
            yield
        finally:
            if not self._open_pass.ops:
                self.passes.remove(self._open_pass)
            self._open_pass = None

    def _new_pass(self, patches: Patches) -> Pass:
        stage = self._open_stage
        if stage is None:
            stage = self._stages
            self._stages += 1
        self.passes.append(Pass(patches, stage, []))
        return self.passes[-1]

    def conv(self, sources: Channels | Sequence[Channels], weight: Values, bias: Values | None, out: Channels, *,
             out_channels: int, kernel: int = 3, stride: int = 1, padding: int | None = None, groups: int = 1,
             shuffle: int = 1, steps: Sequence[Step] = (), method: str = 'direct', compute: str = 'float32',
             patches: Patches | None = None) -> None:
        """A convolution, then `steps`, then pixel shuffle, then the store into `out`.

        Args:
            sources: maps or ranges of channels; several are read one behind the other, as if concatenated (groups=1).
            weight: (out_channels, in_channels / groups, kernel, kernel), or a function that returns it.
            padding: zeros around the input; by default (kernel - 1) / 2. With a stride the output's grid needs its own
                size: (size + 2 * padding - kernel) // stride + 1.
            out: a map, a range of its channels, a local map or an image. With `shuffle` = r it has out_channels / r^2
                channels and r times the scale.
            method: 'direct', or 'winograd' for kernel 3, stride 1: faster from about 16 channels a group on;
                'winograd6' for the same in float32 on lists of patches of 6x6 pixels: less work where maps consist of
                few of these, ten times its rounding error.
            compute: 'float32' or 'bfloat16': what products are rounded to; sums are float32. Without an instruction for
                bf16 they are computed in float32.
        """
        kind = METHODS[method]
        given = [channels_of(one) for one in ([sources] if isinstance(sources, Map | Slice) else sources)]
        self._add(Op(kind, given, channels_of(out), out_channels, tuple(steps), TYPES[compute], kernel, stride,
                     (kernel - 1) // 2 if padding is None else padding, groups, shuffle, weight, bias), patches)

    def scatter(self, source: Channels, weight: Values, blocks: Map, *, outputs: int,
                compute: str = 'float32') -> None:
        """The products of a 3x3 convolution (padding 1) with at most four outputs, within fused(); `gather` sums them.

        Every pixel is read by itself, so that `source` may be local: a large map before a picture need not exist. A
        patch that is listed for `gather` needs its eight neighbours scattered, as far as they lie in the image, by this
        operator or, from another source (predictions on their outermost pixels), by one with the same `blocks`.

        Args:
            weight: (outputs, in_channels, 3, 3), or a function that returns it.
        """
        given = channels_of(source)

        def columns() -> torch.Tensor:
            whole = weight() if callable(weight) else weight
            return whole.permute(2, 3, 0, 1).reshape(TAPS * outputs, -1, 1, 1)

        products = self.local(TAPS * outputs, scale=given.map.scale, grid=given.map.grid,
                              name=f'products of {given.map}')
        self.conv(given, columns, None, products, out_channels=TAPS * outputs, kernel=1, compute=compute)
        self.collect(products, blocks)

    def collect(self, products: Map, blocks: Map) -> None:
        """The second half of `scatter`: sums float32 products, [tap][output] of each pixel, to blocks."""
        self._add(Op(OpKind.COLLECT, [channels_of(products)], channels_of(blocks), blocks.channels), None)

    def gather(self, blocks: Map, out: Channels, *, steps: Sequence[Step] = (),
               patches: Patches | None = None) -> None:
        """The sums of a scattered convolution, then `steps` (its bias, too), then the store into `out`."""
        place = channels_of(out)
        self._add(Op(OpKind.GATHER, [channels_of(blocks)], place, place.channels, tuple(steps)), patches)

    def depthwise(self, source: Channels, weight: Values, bias: Values | None, out: Channels, *, kernel: int = 3,
                  stride: int = 1, padding: int | None = None, steps: Sequence[Step] = (),
                  patches: Patches | None = None) -> None:
        """A convolution of each channel by its own kernel; weight: (channels, 1, kernel, kernel)."""
        given = channels_of(source)
        self._add(Op(OpKind.DEPTHWISE, [given], channels_of(out), given.channels, tuple(steps), Type.FLOAT32, kernel,
                     stride, (kernel - 1) // 2 if padding is None else padding, weight=weight, bias=bias), patches)

    def pointwise(self, source: Channels, out: Channels, *, steps: Sequence[Step] = (), border: int = 0,
                  patches: Patches | None = None) -> None:
        """out = steps(source), pixel by pixel: copies, sums, products, activations, an image into a map and back.

        Args:
            border: of an image, whose outermost pixels are repeated: pixels that `out` has more on each side.
        """
        given = channels_of(source)
        self._add(Op(OpKind.POINTWISE, [given], channels_of(out), given.channels, tuple(steps), pad=border), patches)

    def mean(self, source: Channels, out: Channels, *, patches: Patches | None = None) -> None:
        """Sum over the listed patches' pixels divided by the number of all pixels, into a float32 map of a 1x1 grid.

        It may be read from the next stage on.
        """
        given = channels_of(source)
        self._add(Op(OpKind.MEAN, [given], channels_of(out), given.channels), patches or self._listed(given.map))

    def resample(self, source: Channels, out: Channels, *, mode: str = 'bilinear', steps: Sequence[Step] = (),
                 ratio: tuple[float, float] | None = None, patches: Patches | None = None) -> None:
        """Resize between any two maps, as torch's interpolate with align_corners=False.

        Args:
            mode: 'bilinear' or 'nearest'.
            ratio: source pixels for each output pixel, y and x; by default the quotient of the sizes. (torch takes
                1 / scale_factor where interpolate was given one.)
        """
        given = channels_of(source)
        self._add(Op(RESIZING[mode], [given], channels_of(out), given.channels, tuple(steps), ratio=ratio), patches)

    def max_pool(self, source: Channels, out: Channels, *, kernel: int, stride: int, padding: int = 0,
                 steps: Sequence[Step] = (), patches: Patches | None = None) -> None:
        """Maximum over windows; padding counts as minus infinity."""
        given = channels_of(source)
        self._add(Op(OpKind.MAX_POOL, [given], channels_of(out), given.channels, tuple(steps), kernel=kernel,
                     stride=stride, pad=padding), patches)

    def adaptive_max_pool(self, source: Channels, out: Channels, *, steps: Sequence[Step] = (),
                          patches: Patches | None = None) -> None:
        """Maximum over windows that divide the source into as many rows and columns as `out` has, as torch's."""
        given = channels_of(source)
        self._add(Op(OpKind.ADAPTIVE_MAX_POOL, [given], channels_of(out), given.channels, tuple(steps)), patches)

    def layer_norm(self, source: Channels, out: Channels, *, eps: float, steps: Sequence[Step] = (),
                   patches: Patches | None = None) -> None:
        """Each pixel's channels less their average, over the root of their variance plus `eps`; then `steps`, which may
        multiply and add vectors."""
        given = channels_of(source)
        self._add(Op(OpKind.LAYER_NORM, [given], channels_of(out), given.channels, tuple(steps), eps=eps), patches)

    def predict(self, source: Channels, weight: Values, bias: Values | None, out: Channels, *, out_channels: int,
                shuffle: int = 1, reach: int = 0, rectified: bool = False, compute: str = 'float32',
                patches: Patches | None = None) -> None:
        """out = weight · source + bias, then pixel shuffle, at single pixels of the listed patches.

        Args:
            weight: (out_channels, channels of the source), or a function that returns it; twice as many where
                `rectified`, the second half for max(source, 0).
            reach: only pixels of `out` within so many of active neighbours of their patch; `run` is told which those
                are. 0: all pixels.
            compute: as in `conv`.
        """
        given = channels_of(source)
        self._add(Op(OpKind.PREDICT, [given], channels_of(out), out_channels, (), TYPES[compute], shuffle=shuffle,
                     weight=weight, bias=bias, reach=reach, rectified=rectified), patches)

    def _listed(self, output: Map) -> Patches:
        return self._open_pass.patches if self._open_pass else self.every_patch(output.grid)

    def _add(self, op: Op, patches: Patches | None) -> None:
        target = self._open_pass
        if target and patches is not None and patches is not target.patches:
            raise ValueError('within fused() the patches are those of the group')
        listed = patches or self._listed(op.out.map)
        check_op(self, op, listed, target)
        if target is None:
            target = self._new_pass(listed)
        target.ops.append(op)
