"""A convolution as unfold and a 1×1 convolution: the form in which the paper evaluates chosen pixels."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.errors import UserError


def unfold_conv(conv: nn.Conv2d, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The convolution at the active pixels, 0 elsewhere; unfolds the whole image, so it is a reference, not fast.

    Args:
        conv: stride 1, zero padding that keeps height and width.
        x: (B, C, H, W).
        mask: bool (B, 1, H, W).

    Returns:
        (B, out channels, H, W).
    """
    if conv.stride != (1, 1) or isinstance(conv.padding, str):
        raise UserError(f'{conv} has no unfolded form here: stride 1 and a padding in pixels are needed.')
    columns = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding)  # (B, C·k·k, H·W)
    chosen = columns.transpose(1, 2)[mask.flatten(1)]
    # A 1×1 convolution of a list of pixels, group by group.
    values = torch.matmul(chosen.unflatten(1, (conv.groups, -1)).transpose(0, 1),
                          conv.weight.flatten(1).unflatten(0, (conv.groups, -1)).transpose(1, 2))
    values = values.transpose(0, 1).flatten(1)
    if conv.bias is not None:
        values = values + conv.bias
    out = x.new_zeros(x.shape[0], x.shape[2] * x.shape[3], conv.out_channels)
    out[mask.flatten(1)] = values
    return out.transpose(1, 2).reshape(x.shape[0], conv.out_channels, *x.shape[-2:])
