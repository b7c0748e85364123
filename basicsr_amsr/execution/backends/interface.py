"""What the executors ask of a backend: one convolution, with what follows it, at all rows of a list."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import nn

from basicsr_amsr.execution.fusion import PLAIN, Epilogue
from basicsr_amsr.execution.gather import Gather


class Convolution(NamedTuple):
    """What a convolution of stride 1 that keeps height and width computes, by the names that nn.Conv2d has."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    dilation: tuple[int, int]
    groups: int

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def in_channels(self) -> int:
        """Channels of the whole convolution."""
        return self.weight.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """Channels of the whole convolution."""
        return self.weight.shape[0]


class Read(NamedTuple):
    """Rows of a table (·, C) picked by a list, 0 where it says so; without a list all rows in turn."""

    rows: torch.Tensor
    gather: Gather | None = None

    def fetch(self) -> torch.Tensor:
        """The rows (n, C)."""
        return self.rows if self.gather is None else self.gather.read(self.rows)


class Place(NamedTuple):
    """Where results go: a tensor (·, C) of the type that they have, and to which of its rows (None: in turn)."""

    tensor: Callable[[torch.dtype], torch.Tensor]
    into: Gather | None = None


class Backend(Protocol):
    """Computes convolutions of listed rows.

    Attributes:
        name: as in options and tables.
        whole: whether it reads by the list itself, so that nothing is gathered and all rows are computed at once. Else
            rows are gathered in chunks that the cache holds.
    """

    name: str
    whole: bool

    def convolve(self, conv: nn.Conv2d | Convolution, parts: Sequence[Read], size: int, epilogue: Epilogue = PLAIN,
                 place: Place | None = None) -> torch.Tensor:
        """A convolution, then `epilogue`.

        Args:
            conv: stride 1, keeps height and width.
            parts: what it reads, side by side along the channels: of each size × size patch the pixels of the patch
                with its halo, row by row; of single pixels (size 1) the kernel's taps; of a 1×1 convolution the pixels.
            size: side of the patches.
            epilogue: its `added` is a `Read` of the output pixels.
            place: where to write; None: a new tensor.

        Returns:
            The rows (patches · size², out channels); where `place` has a list, the tensor that was written into.
        """
