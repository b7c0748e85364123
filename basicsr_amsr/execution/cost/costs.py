"""Time of a network's dense, tiled and sparse form as a function of area and active ratio."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

Form = Literal['sparse', 'dense', 'tiled']

# By what share another form has to be faster, so that a tie goes to what was asked for, skipping, and of the forms that
# skip nothing to the plain network: medians of few runs scatter so much.
MARGIN = 0.05
# What an image that is much larger than the map that was timed costs what runs on whole maps more: it leaves the cache,
# which tiles in chunks do not. From 128×128 to 270×480, two threads, a pixel takes CARN_M 41 % longer dense and 9 %
# tile by tile, RFDN 28 and 5 %.
FAR = 0.2


@dataclass(frozen=True)
class Costs:
    """Seconds are area · dense, area · tiled, and area · (base + slope · ratio).

    Attributes:
        area: pixels of the LR map on which both were timed.
        dense: seconds per pixel of the dense form.
        base, slope: of the sparse form, ratio being the share of active pixels, tiles or windows.
        reach: pixels of the largest map for which there was no time to take a larger one.
        tiled: seconds per pixel of the dense network tile by tile; None where it cannot run so.
        spills: the sparse form runs much on whole maps, as the dense one does.
    """

    area: int
    dense: float
    base: float
    slope: float
    reach: int = 0
    tiled: float | None = None
    spills: bool = False

    def __post_init__(self) -> None:
        numbers = (self.area, self.dense, self.base, self.slope, self.reach, 1 if self.tiled is None else self.tiled)
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers) or not (
                self.area > 0 and self.dense > 0 and self.slope >= 0 and (self.tiled is None or self.tiled > 0)):
            raise ValueError(f'no costs: {asdict(self)}')

    def far(self, area: int) -> float:
        """By what factor a map of that area takes longer, for each pixel, where it does not run in tiles."""
        return 1 + FAR if area > 2 * self.area else 1.0

    def sparse(self, ratio: float, area: int) -> float:
        """Seconds per pixel of the sparse form at that ratio on a map of that area."""
        return (self.base + self.slope * ratio) * (self.far(area) if self.spills else 1)

    def whole(self, area: int) -> tuple[Form, float]:
        """The faster form that skips nothing, and the seconds per pixel above which skipping is worse than it."""
        dense = self.dense * self.far(area)
        if self.tiled is not None and self.tiled * (1 + MARGIN) < dense:
            return 'tiled', self.tiled * (1 + MARGIN)
        return 'dense', dense * (1 + MARGIN)

    def form(self, ratio: float, area: int) -> Form:
        """How to process a map of that area of which that ratio is active."""
        whole, limit = self.whole(area)
        return whole if ratio >= 1 or (ratio > 0 and limit < self.sparse(ratio, area)) else 'sparse'

    def crossover(self, area: int) -> float | None:
        """The ratio above which nothing is skipped; None where it is at none, 0 where it is at all."""
        limit, none, every = self.whole(area)[1], self.sparse(0, area), self.sparse(1, area)
        if limit < none:
            return 0.0
        return (limit - none) / (every - none) if limit < every else None

    def fits(self, area: int) -> bool:
        """Whether they hold for a map of that area.

        Small maps pay more overhead for each pixel and stay in the cache, so costs hold from half of the area that was
        timed to its double, and further where there was no time for more.
        """
        return self.area <= 2 * area <= 4 * max(self.area, self.reach)


def fit(area: int, dense: Sequence[float], sparse: Mapping[float, Sequence[float]], reach: int = 0,
        tiled: Sequence[float] = (), spills: bool = False) -> Costs:
    """The costs that agree best with seconds of single runs.

    Args:
        area: pixels of the map that ran.
        dense: seconds of the dense form. sparse: of the sparse form, for each ratio that it computed.
        reach, spills: see `Costs`.
        tiled: seconds of the dense network tile by tile, if it can run so.

    Returns:
        Medians, and through those of the sparse form the line of least squares; level where it would fall, and through
        the origin where there is a single ratio.
    """
    points = [(ratio, median(seconds) / area) for ratio, seconds in sparse.items()]
    number = len(points)
    mean_ratio, mean_time = (sum(values) / number for values in zip(*points, strict=True))
    spread = sum((ratio - mean_ratio)**2 for ratio, _ in points)
    if spread:
        slope = sum((ratio - mean_ratio) * (time - mean_time) for ratio, time in points) / spread
    else:
        slope = mean_time / mean_ratio if mean_ratio else 0.0
    slope = max(slope, 0.0)
    return Costs(area, median(dense) / area, mean_time - slope * mean_ratio, slope, reach,
                 median(tiled) / area if tiled else None, spills)
