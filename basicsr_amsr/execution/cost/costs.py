"""Time of a network's dense and sparse form as a function of area and active share."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

Form = Literal['sparse', 'dense']


@dataclass(frozen=True)
class Costs:
    """Seconds are area · dense, and area · (base + slope · keep).

    Attributes:
        area: pixels of the LR map on which both were timed.
        dense: seconds per pixel of the dense form.
        base, slope: of the sparse form, keep being the share of active pixels, patches or windows.
        limited: there was no time to take a larger map, so they hold for those too.
    """

    area: int
    dense: float
    base: float
    slope: float
    limited: bool = False

    def __post_init__(self) -> None:
        numbers = (self.area, self.dense, self.base, self.slope)
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers) or not (
                self.area > 0 and self.dense > 0 and self.slope >= 0 and isinstance(self.limited, bool)):
            raise ValueError(f'no costs: {asdict(self)}')

    def sparse(self, keep: float) -> float:
        """Seconds per pixel of the sparse form at that share."""
        return self.base + self.slope * keep

    def form(self, keep: float) -> Form:
        """How to process images of which that share is active."""
        return 'dense' if keep >= 1 or (keep > 0 and self.dense < self.sparse(keep)) else 'sparse'

    @property
    def crossover(self) -> float | None:
        """The share of active pixels above which dense is faster: 0 where it always is, None where it never is."""
        if self.dense < self.sparse(0):
            return 0.0
        return (self.dense - self.base) / self.slope if self.dense < self.sparse(1) else None

    def fits(self, area: int) -> bool:
        """Whether they hold for a map of that area."""
        return holds(self.area, area, self.limited)


def holds(measured: int, area: int, limited: bool = False) -> bool:
    """Whether what was timed on a map of the one area holds for one of the other.

    Small maps pay more overhead for each pixel and stay in the cache, so it holds from half of the area that was timed
    to its double, and further where there was no time for more.
    """
    return measured <= 2 * area and (area <= 2 * measured or limited)


def fit(area: int, dense: float, sparse: Mapping[float, float], limited: bool = False) -> Costs:
    """The costs that agree best with measured seconds.

    Args:
        area: pixels of the map that ran.
        dense: seconds of the dense form. sparse: of the sparse form, for each share that it computed.
        limited: see `Costs`.

    Returns:
        For the sparse form the line of least squares; level where it would fall, and through the origin where there is
        a single share.
    """
    points = [(keep, seconds / area) for keep, seconds in sparse.items()]
    number = len(points)
    mean_keep, mean_time = (sum(values) / number for values in zip(*points, strict=True))
    spread = sum((keep - mean_keep)**2 for keep, _ in points)
    if spread:
        slope = sum((keep - mean_keep) * (time - mean_time) for keep, time in points) / spread
    else:
        slope = mean_time / mean_keep if mean_keep else 0.0
    slope = max(slope, 0.0)
    return Costs(area, dense / area, mean_time - slope * mean_keep, slope, limited)
