"""A transposed convolution as a convolution with pixel shuffle, which is how the native kernels run it."""
from __future__ import annotations

import torch


def as_convolution(weight: torch.Tensor, stride: int, padding: int) -> tuple[torch.Tensor, int]:
    """The convolution whose output, shuffled by `stride`, is that of a transposed convolution.

    For output_padding such that the output is exactly stride times the input: output_padding = stride + 2 * padding -
    kernel, which torch allows where it is under `stride`. Groups are not covered.

    Args:
        weight: (in_channels, out_channels, kernel, kernel), as ConvTranspose2d has it.

    Returns:
        the weight (out_channels * stride^2, in_channels, k, k), with channels as pixel shuffle orders them, and the
        padding (k - 1) / 2. Output pixel o = stride * q + phase sums input i * weight[o + padding - stride * i].
    """
    inputs, outputs, kernel, _ = weight.shape
    reach = kernel + padding  # more than any phase needs; cut below
    size = 2 * reach + 1
    result = weight.new_zeros(outputs, stride, stride, inputs, size, size)
    for y in range(stride):
        for x in range(stride):
            for i in range(size):
                for j in range(size):
                    ky, kx = y + padding - stride * (i - reach), x + padding - stride * (j - reach)
                    if 0 <= ky < kernel and 0 <= kx < kernel:
                        result[:, y, x, :, i, j] = weight[:, :, ky, kx].T
    used = max((abs(int(each) - reach) for axis in (4, 5) for each in result.nonzero()[:, axis]), default=0)
    cut = reach - used
    result = result[..., cut:size - cut, cut:size - cut]
    return result.reshape(outputs * stride * stride, inputs, 2 * used + 1, 2 * used + 1).contiguous(), used
