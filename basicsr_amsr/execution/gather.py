"""Rows of a map by a list."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from basicsr_amsr.host import positions


@dataclass(frozen=True, eq=False)
class Gather:
    """Rows of a (B·H·W, C) map to read.

    Attributes:
        places: their numbers, integers, −1 for what lies outside the image. missing: how many of them are −1.
    """

    places: torch.Tensor
    missing: int = 0

    @cached_property
    def index(self) -> torch.Tensor:
        """The numbers for kernels, int32."""
        return self.places.int()

    @cached_property
    def rows(self) -> torch.Tensor:
        """The numbers, 0 for what lies outside."""
        return self.places.clamp(min=0) if self.missing else self.places

    @cached_property
    def outside(self) -> torch.Tensor | None:
        """Positions in `places` that lie outside the image; None where there are none."""
        return positions(self.places < 0, self.missing) if self.missing else None

    @cached_property
    def written(self) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Positions in `places` that lie inside the image (None: all), and the places there, int64."""
        if not self.missing:
            return None, self.places.long()
        inside = positions(self.places >= 0, len(self.places) - self.missing)
        return inside, self.places[inside].long()

    def read(self, pixels: torch.Tensor) -> torch.Tensor:
        """The rows (len(rows), C), 0 outside the image."""
        rows = pixels.index_select(0, self.rows)
        return rows if self.outside is None else rows.index_fill_(0, self.outside, 0)

    def write(self, values: torch.Tensor, target: torch.Tensor) -> None:
        """Write values (len(rows), C) to the places that `read` reads; those outside the image are dropped."""
        target.index_copy_(0, *self.placed(values))

    def placed(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows inside the image, and the values that belong there, of values (len(rows), C)."""
        inside, rows = self.written
        return rows, values if inside is None else values[inside]


def pixel_rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) as (B·H·W, C); a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
