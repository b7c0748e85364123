"""Sparse execution of a unit in plain PyTorch, on any device: gather, compute, write back."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.active import ActiveTiles, Gather, pixel_rows, write
from basicsr_amsr.execution.oracle import check_inside
from basicsr_amsr.execution.unit import ConvUnit, Inside, Step, pointwise


@torch.no_grad()
def run_unit(unit: ConvUnit, x: torch.Tensor, active: ActiveTiles, inside: Inside = 'masked',
             out: torch.Tensor | None = None) -> torch.Tensor:
    """The unit on the active tiles or pixels: equals `dense_masked` with their mask. For inference only.

    Where all are active the dense unit runs; where none is, nothing does.

    Args:
        unit: what is computed.
        x: (B, C, H, W), best channels-last; it is not changed.
        active: which tiles (size > 1) or pixels (size 1), of the size of x.
        inside: 'masked' or 'exact', see `dense_masked`.
        out: (B, C, H, W) channels-last, to write the active pixels into: what its other pixels hold is what skipped
            pixels get (a map found by calibration, or x itself in a second buffer that saves copying it). Not x.

    Returns:
        `out`, else a copy of x with the active pixels computed (x itself where none is active).

    Raises:
        UserError: `inside` is unknown, x has another size than the active tiles, or `out` is not channels-last.
    """
    check_inside(inside)
    if (len(active.tiles), active.height, active.width) != (len(x), *x.shape[-2:]):
        raise UserError(f'x is {tuple(x.shape)}, but the active tiles are those of {len(active.tiles)} maps of '
                        f'{active.height}x{active.width}.')
    if out is not None and not out.is_contiguous(memory_format=torch.channels_last):
        raise UserError(f'out {tuple(out.shape)} is not channels-last: nothing can be written into it.')
    if not active.count:
        return x if out is None else out
    if active.full:
        return unit.dense(x) if out is None else out.copy_(unit.dense(x))
    x = x.contiguous(memory_format=torch.channels_last)
    if out is None:
        out = x.clone(memory_format=torch.channels_last)
    if active.size == 1 or inside == 'masked':
        _layer_by_layer(unit, x, active, inside, out)
    else:
        _tile_by_tile(unit, x, active, out)
    return out


def _layer_by_layer(unit: ConvUnit, x: torch.Tensor, active: ActiveTiles, inside: Inside, out: torch.Tensor) -> None:
    """Each convolution on all its tiles. Inner values are kept for the active tiles only, with a row of zeros."""
    pixels, target = pixel_rows(x), pixel_rows(out)
    steps = unit.steps
    source, values = active, pixels
    for number, step in enumerate(steps):
        later = steps[number + 1:] if inside == 'exact' else []
        where = active.dilated(*(sum(reach) for reach in zip(*(s.reach for s in later), strict=True))) if later \
            else active
        gathers = _reads(step, where, None if number == 0 else source)
        last = number == len(steps) - 1
        result = x.new_empty(1 if last else where.count * where.size**2 + 1, step.conv.out_channels)
        result[-1] = 0
        done = 0
        for gather, own in zip(gathers, where.own(), strict=True):
            read = gather.read(values)
            if number == 0:
                read = gather.clear(_on_rows(unit.before, read))
            body = _on_rows(step.after, _convolve(step, read, where.size))
            if last:
                write(own, _combine(unit, own.read(pixels), body), target)
            else:
                result[done:done + len(body)] = body
                done += len(body)
        source, values = where, result


def _tile_by_tile(unit: ConvUnit, x: torch.Tensor, active: ActiveTiles, out: torch.Tensor) -> None:
    """The whole unit on each tile with a halo for all its convolutions, which need not be padded then."""
    pixels, target = pixel_rows(x), pixel_rows(out)
    steps, size = unit.steps, active.size
    halos = [tuple(sum(r) for r in zip((0, 0), *(s.reach for s in steps[i:]), strict=True))
             for i in range(len(steps) + 1)]
    lists = [active.gathers(range(-rows, size + rows), range(-cols, size + cols)) for rows, cols in halos]
    for gathers in zip(*lists, strict=True):
        read = _on_rows(unit.before, gathers[0].read(pixels))
        for step, (rows, cols), gather in zip(steps, halos, gathers, strict=False):
            # What lies outside the image is the next convolution's padding.
            patches = gather.clear(read).view(-1, size + 2 * rows, size + 2 * cols, read.shape[1])
            read = _on_rows(step.after, pixel_rows(_unpadded(step.conv, patches.permute(0, 3, 1, 2))))
        write(gathers[-1], _combine(unit, gathers[-1].read(pixels), read), target)


def _reads(step: Step, where: ActiveTiles, source: ActiveTiles | None) -> list[Gather]:
    """What a convolution reads: for tiles the tile with its halo, for pixels only the kernel's taps."""
    offsets: list[Sequence[int]] = []
    for reach, dilation in zip(step.reach, step.conv.dilation, strict=True):
        offsets.append(range(-reach, where.size + reach, dilation if where.size == 1 else 1))
    return where.gathers(*offsets) if source is None else where.gathers_from(source, *offsets)


def _convolve(step: Step, read: torch.Tensor, size: int) -> torch.Tensor:
    """The convolution of gathered rows: (tiles · size², out channels)."""
    conv = step.conv
    (rows, cols), channels = step.reach, conv.in_channels
    if size > 1:
        patches = read.view(-1, size + 2 * rows, size + 2 * cols, channels)
        return pixel_rows(_unpadded(conv, patches.permute(0, 3, 1, 2)))
    if conv.groups > 1:
        patches = read.view(-1, *conv.kernel_size, channels).permute(0, 3, 1, 2)
        return F.conv2d(patches, conv.weight, conv.bias, groups=conv.groups).flatten(1)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # a view of channels-last weights
    return F.linear(read.view(-1, weight.shape[1]), weight, conv.bias)


def _unpadded(conv: nn.Conv2d, patches: torch.Tensor) -> torch.Tensor:
    return F.conv2d(patches, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups)


def _on_rows(modules: tuple[nn.Module, ...], rows: torch.Tensor) -> torch.Tensor:
    """Pointwise modules on (n, C), shown to them as (n, C, 1, 1)."""
    return pointwise(modules, rows[..., None, None])[..., 0, 0] if modules else rows


def _combine(unit: ConvUnit, x: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    return unit.combine(x[..., None, None], body[..., None, None])[..., 0, 0]
