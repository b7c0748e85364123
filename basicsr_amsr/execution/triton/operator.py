"""The convolution kernel as an operator of PyTorch's dispatcher, so that what it computes is counted like any other."""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import nn

from basicsr_amsr.execution.backends.interface import Convolution, Place, Read
from basicsr_amsr.execution.fusion import Activation, Epilogue
from basicsr_amsr.execution.gather import Gather
from basicsr_amsr.execution.precision import compute_dtype
from basicsr_amsr.execution.triton.convolution import NOTHING, RELU, SHARED_SLOPE, SLOPE, SLOPES, kernel
from basicsr_amsr.execution.triton.interpreter import interpreted

LIBRARY = torch.library.Library('basicsr_amsr', 'DEF')
LIBRARY.define(
    'convolve_rows(Tensor[] parts, Tensor?[] lists, Tensor weight, Tensor? bias, int size, int[] dilation, '
    'int before, float before_slope, Tensor? before_slopes, float scale, Tensor? added, Tensor? added_list, '
    'int after, float after_slope, Tensor? after_slopes, Tensor(a!) out, Tensor? out_list, int pixels) -> ()')


class Blocks(NamedTuple):
    """How the kernel is cut: output pixels and channels of a program, input channels of a step, warps, stages."""

    pixels: int
    out: int
    channels: int
    warps: int
    stages: int


def blocks_for(channels: int, out_channels: int, dtype: torch.dtype) -> Blocks:
    """Block sizes by channels and number format; not tuned on a GPU yet (benchmarks/triton_conv.py --tune)."""
    out = min(max(_power(out_channels), 16), 128)
    step = min(max(_power(channels), 16), 32 if dtype == torch.float32 else 64)
    return Blocks(128, out, step, 4 if out <= 64 else 8, 3)


def convolve(conv: nn.Conv2d | Convolution, parts: Sequence[Read], size: int, epilogue: Epilogue, place: Place | None,
             ) -> torch.Tensor:
    """What `Backend.convolve` gives, of what `supported` allows."""
    rows, lists = [part.rows for part in parts], [_list(part.gather) for part in parts]
    weight = conv.weight.to(compute_dtype(conv.weight))
    geometry = _geometry(weight, size, conv.dilation)
    listed = len(rows[0]) if lists[0] is None else len(lists[0])
    pixels = listed // geometry['LIST'] * geometry['SIZE']**2
    out = rows[0].new_empty(pixels, conv.out_channels) if place is None else place.tensor(rows[0].dtype)
    added: Read | None = epilogue.added
    torch.ops.basicsr_amsr.convolve_rows(
        rows, lists, weight, conv.bias, size, conv.dilation, *_activation(epilogue.before), epilogue.scale,
        added and added.rows, added and _list(added.gather), *_activation(epilogue.after), out,
        place and _list(place.into), pixels)
    return out


def launch(parts: list[torch.Tensor], lists: list[torch.Tensor | None], weight: torch.Tensor,
           bias: torch.Tensor | None, size: int, dilation: list[int], before: int, before_slope: float,
           before_slopes: torch.Tensor | None, scale: float, added: torch.Tensor | None,
           added_list: torch.Tensor | None, after: int, after_slope: float, after_slopes: torch.Tensor | None,
           out: torch.Tensor, out_list: torch.Tensor | None, pixels: int, blocks: Blocks | None = None) -> None:
    """The operator: one launch for each part; between them sums wait in single precision."""
    if not pixels:
        return
    on_gpu, outs = out.is_cuda, weight.shape[0]
    geometry = _geometry(weight, size, dilation)
    partial, start = None, 0
    for number, (rows, index) in enumerate(zip(parts, lists, strict=True)):
        last, channels = number == len(parts) - 1, rows.shape[1]
        own = weight[:, start:start + channels]
        start += channels
        target = out
        if not last:
            target = torch.empty(pixels, outs, dtype=torch.float32, device=out.device) if partial is None else partial
        cut = blocks or blocks_for(channels, outs, weight.dtype)
        grid = (-(-pixels // cut.pixels) * -(-outs // cut.out),)
        options = {'num_warps': cut.warps, 'num_stages': cut.stages} if on_gpu else {}
        what_follows = (bias, before_slope if before == SLOPE else before_slopes, scale, added, added_list,
                        after_slope if after == SLOPE else after_slopes)
        with torch.cuda.device(out.device) if on_gpu else nullcontext():
            kernel(interpreted())[grid](
                rows, index, own, *(what_follows if last else (None, None, 1.0, None, None, None)), partial, target,
                out_list if last else None, pixels, rows.stride(0), 0 if added is None else added.stride(0),
                target.stride(0), *own.stride(), CHANNELS=channels, OUT=outs, **geometry,
                BEFORE=before if last else NOTHING, AFTER=after if last else NOTHING, PRECISION=precision(),
                # The interpreter multiplies bfloat16 as if its bits were integers.
                WIDEN=interpreted() and weight.dtype == torch.bfloat16, BLOCK_PIXELS=cut.pixels, BLOCK_OUT=cut.out,
                BLOCK_IN=cut.channels, **options)
        partial = target


def _geometry(weight: torch.Tensor, size: int, dilation: Sequence[int]) -> dict[str, int]:
    """Where in the list of a patch its convolution reads, as the kernel takes it."""
    down, across = weight.shape[2:]
    if (down, across) == (1, 1):  # the pixels themselves are listed
        return {'SIZE': 1, 'LIST': 1, 'LIST_WIDTH': 1, 'TAP_ROWS': 1, 'TAP_COLS': 1, 'STEP_ROWS': 1, 'STEP_COLS': 1}
    if size == 1:  # the taps are
        return {'SIZE': 1, 'LIST': down * across, 'LIST_WIDTH': across, 'TAP_ROWS': down, 'TAP_COLS': across,
                'STEP_ROWS': 1, 'STEP_COLS': 1}
    height, width = (size + step * (taps - 1) for step, taps in zip(dilation, (down, across), strict=True))
    return {'SIZE': size, 'LIST': height * width, 'LIST_WIDTH': width, 'TAP_ROWS': down, 'TAP_COLS': across,
            'STEP_ROWS': dilation[0], 'STEP_COLS': dilation[1]}


for _device in ('CPU', 'CUDA'):
    LIBRARY.impl('convolve_rows', launch, _device)


def precision() -> str:
    """How float32 is multiplied: as cuDNN is told to, so that both compute alike."""
    cudnn = torch.backends.cudnn
    if hasattr(cudnn, 'conv'):  # since PyTorch 2.9, where the older flag cannot be read once this one was set
        return 'tf32' if cudnn.conv.fp32_precision == 'tf32' else 'ieee'
    return 'tf32' if cudnn.allow_tf32 else 'ieee'


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


def _list(gather: Gather | None) -> torch.Tensor | None:
    return None if gather is None else gather.index


def _activation(activation: Activation | None) -> tuple[int, float, torch.Tensor | None]:
    """The activation as the operator takes it."""
    if activation is None:
        return NOTHING, 0.0, None
    if isinstance(activation.slope, torch.Tensor):
        return (SLOPES if activation.slope.numel() > 1 else SHARED_SLOPE), 0.0, activation.slope
    slope = float(activation.slope)  # type: ignore[arg-type]  # its weights are bound
    return (SLOPE if slope else RELU), slope, None
