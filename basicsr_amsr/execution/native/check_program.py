"""Checks of operators as they are declared: after them no pointer that goes over leads out of its memory.

ValueError: a fault of the code that builds the program, not of a user.
"""
from __future__ import annotations

from basicsr_amsr.execution.native.maps import Patches, Slice
from basicsr_amsr.execution.native.operators import Declarations, Op, Pass
from basicsr_amsr.execution.native.tables import PATCH, RESAMPLING, Layout, OpKind, StepKind, Type

MOST_SOURCES = 16  # as in src/sources.h
MOST_SCALE = 8  # as in src/kernels.cpp
TAPS = 9  # of a 3x3 kernel
MOST_SCATTERED = 4  # outputs of a convolution that can be scattered: LEAF of src/scatter.h


def _need(holds: object, message: str) -> None:
    if not holds:
        raise ValueError(message)


def check_op(program: Declarations, op: Op, patches: Patches, fused: Pass | None) -> None:
    """Raise ValueError where an operator is impossible, or would read what is not there yet."""
    _need(1 <= len(op.sources) <= MOST_SOURCES, f'{len(op.sources)} sources, 1 to {MOST_SOURCES} are possible')
    maps = [each.map for each in (*op.sources, op.out)] + [step.source.map for step in op.steps if step.source]
    for each in maps:
        _need(program.maps[each.index:each.index + 1] == [each], f'{each} belongs to another program')
    _check_numbers(op)
    _need(op.edge == patches.edge, f'{op.kind.name} computes patches of {op.edge} pixels, its list has {patches.edge}')
    _need(op.edge == PATCH or (op.compute == Type.FLOAT32 and not any(each.layout == Layout.LOCAL for each in maps)),
          f'{op.kind.name} is for float32 and for maps that are not local')
    if op.kind in (OpKind.COLLECT, OpKind.GATHER):
        _check_blocks(program, op, patches)
    if op.kind == OpKind.COLLECT:
        _check_order(op, fused, program)
        return
    _check_out(op, patches, MOST_SCALE)
    scale = op.out.map.scale // op.shuffle
    for source in op.sources:
        _check_source(op, source, scale, patches)
    for step in op.steps:
        if step.source:
            _check_step_source(op, step.kind, step.source, scale)
    _check_order(op, fused, program)


def _check_numbers(op: Op) -> None:
    _need(op.kernel >= 1 and op.stride >= 1 and op.groups >= 1 and op.shuffle >= 1,
          f'kernel {op.kernel}, stride {op.stride}, groups {op.groups}, shuffle {op.shuffle}: each is at least 1')
    _need(0 <= op.pad < op.kernel or (op.kind == OpKind.POINTWISE and op.sources[0].map.layout == Layout.PLANAR),
          f'padding {op.pad} of a kernel of {op.kernel}')
    _need(op.in_channels % op.groups == 0 and op.out_channels % op.groups == 0,
          f'{op.groups} groups divide neither {op.in_channels} nor {op.out_channels} channels')
    _need(op.groups == 1 or len(op.sources) == 1, 'groups need one source')
    _need(op.out_channels % (op.groups * op.shuffle ** 2) == 0,
          f'{op.out_channels} channels in {op.groups} groups cannot be shuffled by {op.shuffle}')
    if op.kind in (OpKind.WINOGRAD, OpKind.WINOGRAD6):
        _need((op.kernel, op.stride) == (3, 1), 'Winograd needs kernel 3, stride 1')


def _check_out(op: Op, patches: Patches, most_scale: int) -> None:
    out = op.out.map
    scale, rest = divmod(out.scale, op.shuffle)
    _need(not rest and 1 <= scale <= most_scale, f'{out} has scale {out.scale}: shuffle {op.shuffle} does not fit')
    _need(op.out.channels * op.shuffle ** 2 == op.out_channels,
          f'{op.out_channels} channels do not fit {op.out.channels} of {out} (shuffle {op.shuffle})')
    _need(out.layout != Layout.PLANAR or op.groups == 1, 'an image can be the output of one group')
    if op.kind == OpKind.MEAN:
        _need(out.type == Type.FLOAT32 and out.layout == Layout.NHWC and out.scale == 1,
              'means go to a float32 map')
        return
    _need(out.grid is patches.grid, f'{out} is of another grid than the patches')
    if op.kind == OpKind.PREDICT:
        _need(scale == 1 and out.layout != Layout.PLANAR, 'it predicts pixels of the list, into maps')
        _need(0 <= op.reach <= 4 * out.scale, f'a reach of {op.reach} pixels of {out}: a patch at most')


def _check_blocks(program: Declarations, op: Op, patches: Patches) -> None:
    """Check both halves of a scattered convolution: blocks are those of the image's patches, at the pixels' scale."""
    blocks, pixels = op.out.map, op.sources[0].map
    if op.kind == OpKind.GATHER:
        blocks, pixels = pixels, blocks
    _need(blocks.channels == (PATCH * pixels.scale + 2) ** 2 * 4 and blocks.grid is program.block_grid,
          f'{blocks} is no map of blocks at scale {pixels.scale}')
    _need(patches.grid is program.image_grid is pixels.grid, 'blocks are those of the image\'s patches')
    if op.kind == OpKind.COLLECT:
        _need(pixels.type == Type.FLOAT32 and op.sources[0].channels % TAPS == 0, f'{pixels} is nothing to collect')
    outputs = op.sources[0].channels // TAPS if op.kind == OpKind.COLLECT else op.out.channels
    _need(1 <= outputs <= MOST_SCATTERED and op.shuffle == 1, f'{outputs} outputs, 1 to {MOST_SCATTERED} are possible')


def _check_source(op: Op, source: Slice, scale: int, patches: Patches) -> None:
    one = source.map
    resampling = op.kind in RESAMPLING
    _need(one.layout != Layout.PLANAR or op.kind == OpKind.POINTWISE, f'{one} is an image: copy it into a map first')
    if op.kind == OpKind.MEAN:
        _need(one.grid is patches.grid and one.scale <= MOST_SCALE, f'{one} is of another grid than the patches')
    elif not resampling and op.stride == 1 and op.kind != OpKind.GATHER and (
            op.pad == (op.kernel - 1) // 2):  # else the output has another size
        _need((one.grid, one.scale) == (op.out.map.grid, scale), f'{one} is of another resolution than the output')
    if one.layout == Layout.LOCAL:
        _need(not op.reads_around or op.kind == OpKind.MEAN, f'{one} is local, without neighbours to read')


def _check_step_source(op: Op, kind: StepKind, source: Slice, scale: int) -> None:
    one = source.map
    _need(one.layout != Layout.PLANAR, f'{one} is an image: steps read maps')
    if kind == StepKind.MUL_PIXEL:
        _need(one.layout == Layout.NHWC and source.channels == op.out_channels, f'{one}: one factor for each channel')
        return
    _need((one.grid, one.scale) == (op.out.map.grid, scale), f'{one} is of another resolution than the operator')
    wanted = op.out_channels // op.shuffle ** 2 if kind == StepKind.ADD_NEAREST else op.out_channels
    _need(source.channels == wanted, f'{source.channels} channels of {one} for {wanted} of the operator')
    if kind == StepKind.ADD_NEAREST:
        _need(op.out.map.layout == Layout.PLANAR, 'add_nearest needs an image as output')
    else:
        _need(op.shuffle == 1 or op.out.map.layout == Layout.PLANAR,
              'steps that read maps do not go with pixel shuffle into a map')


def _check_order(op: Op, fused: Pass | None, program: Declarations) -> None:
    for source in op.sources:
        _need(source.map.storage != op.out.map.storage or op.kind == OpKind.POINTWISE,
              f'{source.map} would be overwritten while it is read')
    locals_ = [one.map for one in (*op.sources, op.out) if one.map.layout == Layout.LOCAL]
    locals_ += [step.source.map for step in op.steps if step.source and step.source.map.layout == Layout.LOCAL]
    _need(not locals_ or fused, 'local maps exist within fused() only')
    if fused is None:
        return
    written = [each.out.map for each in fused.ops]
    for one in locals_:
        _need(one in written or one is op.out.map, f'{one} is read before it is written')
    around = [source.map for each in (*fused.ops, op) if each.reads_around and each.kind != OpKind.MEAN
              for source in each.sources]
    for one in around:
        _need(one.storage not in {each.storage for each in (op.out.map, *written)},
              f'{one} is written in the group of operators that reads it around: its neighbours are not there yet')


def check_program(program: Declarations) -> None:
    """What only the whole program shows: within a stage nothing reads a whole map that the stage writes."""
    for stage in {each.stage for each in program.passes}:
        passes = [each for each in program.passes if each.stage == stage]
        written = {op.out.map.storage for each in passes for op in each.ops}
        for op in (op for each in passes for op in each.ops):
            whole = op.kind in RESAMPLING or op.stride > 1
            for source in op.sources:
                _need(not whole or source.map.storage not in written or (len(passes) == 1 and len(passes[0].ops) == 1),
                      f'{source.map} is written in the stage that resamples it')
                _need(len(passes) == 1 or op.kernel <= 9, 'a wavefront allows kernels up to 9')
            for step in op.steps:
                if step.kind == StepKind.MUL_PIXEL and step.source:
                    _need(step.source.map.storage not in written, f'{step.source.map} is not there yet in this stage')
