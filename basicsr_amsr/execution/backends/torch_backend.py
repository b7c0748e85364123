"""Torch operators, on any device: gather, then a dense convolution of the patches or a matrix product of the taps."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.backends.interface import Convolution, Place, Read
from basicsr_amsr.execution.fusion import PLAIN, Epilogue
from basicsr_amsr.execution.gather import pixel_rows


class TorchBackend:
    """See `Backend`."""

    name = 'torch'
    whole = False

    def convolve(self, conv: nn.Conv2d | Convolution, parts: Sequence[Read], size: int, epilogue: Epilogue = PLAIN,
                 place: Place | None = None) -> torch.Tensor:
        """See `Backend`."""
        rows = convolve_parts(conv, [part.fetch() for part in parts], size)
        if place is None:
            return followed(rows, epilogue)
        added = epilogue.added
        target = place.tensor(rows.dtype if added is None else widest(rows.dtype, added.rows.dtype))
        if place.into is None:
            return followed(rows, epilogue, target)
        place.into.write(followed(rows, epilogue).to(target.dtype), target)
        return target


def followed(rows: torch.Tensor, epilogue: Epilogue, out: torch.Tensor | None = None) -> torch.Tensor:
    """Applies an epilogue to rows, which are overwritten; the result is in `out`, or in place of the rows."""
    before, scale, added, after = epilogue
    steps: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = []
    if before:
        steps.append(before.into)
    if added is not None:
        rows = rows.to(widest(rows.dtype, added.rows.dtype))
        steps.append(lambda rows, out: torch.add(added.fetch(), rows, alpha=scale, out=out))
    elif scale != 1:
        steps.append(lambda rows, out: torch.mul(rows, scale, out=out))
    if after:
        steps.append(after.into)
    if not steps:
        return rows if out is None else out.copy_(rows)
    for step in steps[:-1]:
        rows = step(rows, rows)
    return steps[-1](rows, rows if out is None else out)


def widest(first: torch.dtype, second: torch.dtype) -> torch.dtype:
    """The format of a sum of two, without asking the dispatcher where both are alike."""
    return first if first == second else torch.promote_types(first, second)


def convolve_parts(conv: nn.Conv2d | Convolution, reads: Sequence[torch.Tensor], size: int) -> torch.Tensor:
    """`convolve_rows` of several reads, as if their channels were concatenated: (patches · size², out channels)."""
    if len(reads) == 1 or conv.kernel_size != (1, 1) or conv.groups > 1 or torch.is_autocast_enabled(
            reads[0].device.type):
        return convolve_rows(conv, torch.cat(list(reads), 1) if len(reads) > 1 else reads[0], size)
    # A sum of products moves less memory than a concatenation and one product.
    first, *weights = conv.weight.flatten(1).split([read.shape[1] for read in reads], 1)
    rows = F.linear(reads[0], first, conv.bias)
    for read, weight in zip(reads[1:], weights, strict=True):
        rows.addmm_(read, weight.T)
    return rows


def convolve_rows(conv: nn.Conv2d | Convolution, read: torch.Tensor, size: int) -> torch.Tensor:
    """The convolution of what was gathered around patches: (patches · size², out channels)."""
    channels = conv.in_channels
    if conv.kernel_size == (1, 1) and conv.groups == 1:
        return F.linear(read, conv.weight.flatten(1), conv.bias)
    if size > 1:
        rows, cols = (size + d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        patches = read.view(-1, rows, cols, channels)
        return pixel_rows(unpadded(conv, patches.permute(0, 3, 1, 2)))
    if conv.groups > 1:
        patches = read.view(-1, *conv.kernel_size, channels).permute(0, 3, 1, 2)
        return F.conv2d(patches, conv.weight, conv.bias, groups=conv.groups).flatten(1)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # a view of channels-last weights
    return F.linear(read.reshape(-1, weight.shape[1]), weight, conv.bias)


def unpadded(conv: nn.Conv2d | Convolution, patches: torch.Tensor) -> torch.Tensor:
    """The convolution without its padding."""
    return F.conv2d(patches, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups)
