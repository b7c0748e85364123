"""A convolution of listed rows as one matrix product whose left side is gathered as it is read (implicit GEMM)."""
from __future__ import annotations

from functools import cache
from typing import Any

import triton
import triton.language as tl

# What follows a convolution, as the kernel numbers it.
NOTHING, RELU, SLOPE, SLOPES, SHARED_SLOPE = range(5)


def convolve(values, index, weight, bias, slope_before, scale, residual, residual_index, slope_after, partial, out,
             out_index, pixels, values_stride, residual_stride, out_stride, weight_out, weight_in, weight_row,
             weight_col, CHANNELS: tl.constexpr, OUT: tl.constexpr, SIZE: tl.constexpr, LIST: tl.constexpr,
             LIST_WIDTH: tl.constexpr, TAP_ROWS: tl.constexpr, TAP_COLS: tl.constexpr, STEP_ROWS: tl.constexpr,
             STEP_COLS: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr, PRECISION: tl.constexpr,
             WIDEN: tl.constexpr, BLOCK_PIXELS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr):
    """after(scale · before(Σ W · values + partial + bias) + residual) at `pixels` output pixels.

    values (·, CHANNELS), residual (·, OUT) and out (·, OUT) are rows of unit stride. Output pixel m is pixel m % SIZE²
    of patch m // SIZE². `index` lists for each patch the rows of the LIST places that its convolution reads, LIST_WIDTH
    in a line: the patch with its halo, or for single pixels the taps. So a list has (SIZE + 2)² / SIZE² entries per
    pixel, not nine; an entry, 4 bytes, is read once for each tap that needs it, and again from the first-level cache.
    A row under 0 is of zeros. Without an index, row m is read. `residual_index` and `out_index` have a row for each
    output pixel: where under 0, nothing is added, and nothing written. `partial` (pixels, OUT) is in single precision.
    Sums are in single precision throughout.
    """
    blocks_out: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    blocks_in: tl.constexpr = (CHANNELS + BLOCK_IN - 1) // BLOCK_IN
    # Blocks of channels of the same pixels run side by side: the second reads the rows from the second-level cache.
    pixel = (tl.program_id(0) // blocks_out) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = (tl.program_id(0) % blocks_out) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    inside = pixel < pixels
    wanted = channel < OUT
    inner = pixel % (SIZE * SIZE)
    place = (pixel // (SIZE * SIZE)).to(tl.int64) * LIST + (inner // SIZE) * LIST_WIDTH + inner % SIZE
    # One loop over taps and channels, so that loads of the next step are under way across taps as well.
    total = tl.full((BLOCK_PIXELS, BLOCK_OUT), 0, tl.float32)
    for step in range(TAP_ROWS * TAP_COLS * blocks_in):
        tap = step // blocks_in
        c = (step % blocks_in) * BLOCK_IN + tl.arange(0, BLOCK_IN)
        tap_row = tap // TAP_COLS
        tap_col = tap % TAP_COLS
        if index is None:
            row = tl.where(inside, pixel, -1)
        else:
            row = tl.load(index + place + (tap_row * STEP_ROWS * LIST_WIDTH + tap_col * STEP_COLS),
                          mask=inside, other=-1)
        known = c < CHANNELS
        read = tl.load(values + row.to(tl.int64)[:, None] * values_stride + c[None, :],
                       mask=(row >= 0)[:, None] & known[None, :], other=0)
        taps = tl.load(weight + tap_row * weight_row + tap_col * weight_col + c[:, None] * weight_in
                       + channel[None, :] * weight_out, mask=known[:, None] & wanted[None, :], other=0)
        if WIDEN:
            read = read.to(tl.float32)
            taps = taps.to(tl.float32)
        total = tl.dot(read, taps, total, input_precision=PRECISION)
    valid = inside[:, None] & wanted[None, :]
    if partial is not None:
        total += tl.load(partial + pixel.to(tl.int64)[:, None] * OUT + channel[None, :], mask=valid, other=0)
    if bias is not None:
        total += tl.load(bias + channel, mask=wanted, other=0).to(tl.float32)[None, :]
    # Written so that what is not a number stays so.
    if BEFORE == 1:
        total = tl.where(total < 0, 0.0, total)
    elif BEFORE == 2:
        total = tl.where(total < 0, total * slope_before, total)
    elif BEFORE == 3:
        slopes = tl.load(slope_before + channel, mask=wanted, other=0).to(tl.float32)
        total = tl.where(total < 0, total * slopes[None, :], total)
    elif BEFORE == 4:
        total = tl.where(total < 0, total * tl.load(slope_before).to(tl.float32), total)
    total *= scale
    if residual is not None:
        row = pixel if residual_index is None else tl.load(residual_index + pixel, mask=inside, other=-1)
        total += tl.load(residual + row.to(tl.int64)[:, None] * residual_stride + channel[None, :],
                         mask=valid & (row >= 0)[:, None], other=0).to(tl.float32)
    if AFTER == 1:
        total = tl.where(total < 0, 0.0, total)
    elif AFTER == 2:
        total = tl.where(total < 0, total * slope_after, total)
    elif AFTER == 3:
        slopes = tl.load(slope_after + channel, mask=wanted, other=0).to(tl.float32)
        total = tl.where(total < 0, total * slopes[None, :], total)
    elif AFTER == 4:
        total = tl.where(total < 0, total * tl.load(slope_after).to(tl.float32), total)
    row = pixel if out_index is None else tl.load(out_index + pixel, mask=inside, other=-1)
    tl.store(out + row.to(tl.int64)[:, None] * out_stride + channel[None, :], total.to(out.dtype.element_ty),
             mask=valid & (row >= 0)[:, None])


@cache
def kernel(interpreted: bool) -> Any:
    """The kernel for a GPU, or for Triton's interpreter on the CPU."""
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = interpreted
        return triton.jit(convolve, do_not_specialize=['pixels'])  # masks of many sizes come
