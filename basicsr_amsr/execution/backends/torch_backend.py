"""Torch operators, on any device: gather, then a dense convolution of the tiles or a matrix product of the taps."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.active import pixel_rows, write
from basicsr_amsr.execution.backends.interface import Place, Read
from basicsr_amsr.execution.fusion import PLAIN, Epilogue
from basicsr_amsr.execution.plan import conv_reach


class TorchBackend:
    """See `Backend`."""

    name = 'torch'
    whole = False

    def convolve(self, conv: nn.Conv2d, parts: Sequence[Read], size: int, epilogue: Epilogue = PLAIN,
                 place: Place | None = None) -> torch.Tensor:
        """See `Backend`."""
        reads = [part.fetch() for part in parts]
        rows = convolve_rows(conv, torch.cat(reads, 1) if len(reads) > 1 else reads[0], size)
        rows = followed(rows, epilogue)
        if place is None:
            return rows
        target = place.tensor(rows.dtype)
        if place.into is None:
            return target.copy_(rows)
        write(place.into, rows.to(target.dtype), target)
        return target


def followed(rows: torch.Tensor, epilogue: Epilogue) -> torch.Tensor:
    """Rows after an epilogue."""
    if epilogue.before:
        rows = epilogue.before(rows)
    if epilogue.scale != 1:
        rows = rows * epilogue.scale
    if epilogue.added is not None:
        rows = rows + epilogue.added.fetch()
    return epilogue.after(rows) if epilogue.after else rows


def convolve_rows(conv: nn.Conv2d, read: torch.Tensor, size: int) -> torch.Tensor:
    """The convolution of what was gathered around tiles: (tiles · size², out channels)."""
    (rows, cols), channels = conv_reach(conv), conv.in_channels
    if conv.kernel_size == (1, 1) and conv.groups == 1:
        return F.linear(read, conv.weight.flatten(1), conv.bias)
    if size > 1:
        patches = read.view(-1, size + 2 * rows, size + 2 * cols, channels)
        return pixel_rows(unpadded(conv, patches.permute(0, 3, 1, 2)))
    if conv.groups > 1:
        patches = read.view(-1, *conv.kernel_size, channels).permute(0, 3, 1, 2)
        return F.conv2d(patches, conv.weight, conv.bias, groups=conv.groups).flatten(1)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # a view of channels-last weights
    return F.linear(read.reshape(-1, weight.shape[1]), weight, conv.bias)


def unpadded(conv: nn.Conv2d, patches: torch.Tensor) -> torch.Tensor:
    """The convolution without its padding."""
    return F.conv2d(patches, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups)
