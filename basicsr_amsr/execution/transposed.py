"""Transposed convolutions as convolutions, which the CPU runs many times faster.

Of a transposed convolution whose output is s times its input, every output pixel of one phase (row and column modulo s)
is a small convolution of the input: s² phases are s² times the channels, and a pixel shuffle puts them in their places
(Shi et al., Is the deconvolution layer the same as a convolutional layer?, 2016). Kernel 9, stride 4 become 3×3 taps.
"""
from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn


def transposed_convolution(layer: nn.ConvTranspose2d, x: torch.Tensor) -> torch.Tensor:
    """`layer(x)`, (N, C, H, W) to (N, C', s·H, s·W); on the CPU, where no gradient is recorded, as a convolution.

    Elsewhere, in graphs that are traced or exported, where a hook (a counter's, say) watches the layer, and where the
    layer enlarges by another factor than its stride, it is the layer itself.
    """
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
    watched = layer._forward_hooks or layer._forward_pre_hooks
    if x.device.type != 'cpu' or torch.is_grad_enabled() or traced or watched or not splits(layer):
        return layer(x)
    stride, padding = layer.stride[0], cast(tuple[int, ...], layer.padding)[0]
    weight, before, after = phases(layer.weight, stride, padding)
    bias = None if layer.bias is None else layer.bias.repeat_interleave(stride**2)
    return F.pixel_shuffle(F.conv2d(F.pad(x, (before, after, before, after)), weight, bias), stride)


def splits(layer: nn.ConvTranspose2d) -> bool:
    """Whether the output of a layer is its input enlarged by the stride, and so falls into phases of one size."""
    shapes = set(zip(layer.kernel_size, layer.output_padding, cast(tuple[int, ...], layer.padding), layer.stride,
                     strict=True))
    kernel, extra, padding, stride = next(iter(shapes))
    square = len(shapes) == 1
    return square and kernel + extra - 2 * padding == stride and layer.groups == 1 and layer.dilation == (1, 1)


def phases(weight: torch.Tensor, stride: int, padding: int) -> tuple[torch.Tensor, int, int]:
    """The convolution whose channels are the phases of a transposed one.

    Output pixel s·q + r takes the input pixel q + d with the kernel's element r + padding − s·d, where there is one.

    Args:
        weight: (C, C', k, k) of the transposed convolution.

    Returns:
        Weight (C'·s², C, t, t), and how many pixels the input is to be padded by before and after.
    """
    channels, out, kernel, _ = weight.shape
    last, first = (stride - 1 + padding) // stride, -((kernel - 1 - padding) // stride)
    taps = last - first + 1
    left = stride * last - padding  # elements that lie before the kernel's first
    right = taps * stride - left - kernel
    whole = F.pad(weight, (left, right, left, right)).view(channels, out, taps, stride, taps, stride).flip(2, 4)
    return whole.permute(1, 3, 5, 0, 2, 4).reshape(out * stride**2, channels, taps, taps), -first, last
