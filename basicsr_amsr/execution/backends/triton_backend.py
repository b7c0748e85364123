"""Triton kernels: they read rows by the list, and do what follows a convolution before they write."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from basicsr_amsr.execution.backends.interface import Convolution, Place, Read
from basicsr_amsr.execution.backends.torch_backend import TorchBackend
from basicsr_amsr.execution.fusion import PLAIN, Epilogue
from basicsr_amsr.execution.precision import compute_dtype

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class TritonBackend:
    """See `Backend`. Grouped convolutions and other number formats are left to torch operators."""

    name = 'triton'
    whole = True

    def __init__(self) -> None:
        self.fallback = TorchBackend()

    def convolve(self, conv: nn.Conv2d | Convolution, parts: Sequence[Read], size: int, epilogue: Epilogue = PLAIN,
                 place: Place | None = None) -> torch.Tensor:
        """See `Backend`."""
        if not supported(conv, parts, epilogue):
            return self.fallback.convolve(conv, parts, size, epilogue, place)
        from basicsr_amsr.execution.triton.operator import convolve

        return convolve(conv, parts, size, epilogue, place)


def supported(conv: nn.Conv2d | Convolution, parts: Sequence[Read], epilogue: Epilogue) -> bool:
    """Whether the kernel computes this."""
    added = epilogue.added
    tables = [part.rows for part in parts] + ([] if added is None else [added.rows])
    dtype = compute_dtype(conv.weight)
    listed = conv.kernel_size == (1, 1) or all(part.gather is not None for part in parts)
    return (listed and conv.groups == 1 and dtype in DTYPES
            and all(rows.dtype == dtype and rows.stride(1) == 1 for rows in tables)
            and (added is None or added.rows.shape[1] == conv.out_channels))
