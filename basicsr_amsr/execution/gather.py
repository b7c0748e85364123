"""Rows of a map by a list."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True, eq=False)
class Gather:
    """Rows of a (B·H·W, C) map to read, and which of them lie outside the image: positions in `rows`, or None."""

    rows: torch.Tensor
    outside: torch.Tensor | None = None

    @cached_property
    def index(self) -> torch.Tensor:
        """The rows for kernels, int32, -1 for those outside."""
        rows = self.rows if self.outside is None else self.rows.index_fill(0, self.outside, -1)
        return rows.int()

    @cached_property
    def inside(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in `rows` of those inside the image, and these rows, int64; where some are outside."""
        positions = (self.index >= 0).nonzero()[:, 0]
        return positions, self.rows[positions].long()

    @cached_property
    def places(self) -> torch.Tensor:
        """The rows, int64."""
        return self.rows.long()

    def read(self, pixels: torch.Tensor) -> torch.Tensor:
        """The rows (len(rows), C), 0 outside the image."""
        rows = pixels.index_select(0, self.rows)
        return rows if self.outside is None else rows.index_fill_(0, self.outside, 0)

    def write(self, values: torch.Tensor, target: torch.Tensor) -> None:
        """Put values (len(rows), C) where they are read from; those outside the image go nowhere."""
        target.index_copy_(0, *self.placed(values))

    def placed(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows inside the image, and which of values (len(rows), C) belong there."""
        if self.outside is None:
            return self.places, values
        positions, rows = self.inside
        return rows, values[positions]


def pixel_rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) as (B·H·W, C); a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
