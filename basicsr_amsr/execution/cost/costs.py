"""Time of a network's dense and sparse form as a function of area and active ratio."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

# By what share dense has to be faster, so that a tie goes to what was asked for, skipping: medians of few runs scatter
# so much. By more where the map that was timed is much smaller than the image: a larger one leaves the cache, which
# costs the dense form a lot (CARN_M, one thread: 36 µs a pixel at 96×96, 53 at 360×360) and the sparse form little,
# as its tiles run in chunks (27 and 30).
MARGIN = 0.05
FAR_MARGIN = 0.15


@dataclass(frozen=True)
class Costs:
    """Seconds are area · dense, and area · (base + slope · ratio).

    Attributes:
        area: pixels of the LR map on which both were timed.
        dense: seconds per pixel of the dense form.
        base, slope: of the sparse form, ratio being the share of active pixels, tiles or windows.
        reach: pixels of the largest map for which there was no time to take a larger one.
    """

    area: int
    dense: float
    base: float
    slope: float
    reach: int = 0

    def __post_init__(self) -> None:
        numbers = (self.area, self.dense, self.base, self.slope, self.reach)
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers) or not (
                self.area > 0 and self.dense > 0 and self.slope >= 0):
            raise ValueError(f'no costs: {asdict(self)}')

    def sparse(self, ratio: float) -> float:
        """Seconds per pixel of the sparse form at that ratio."""
        return self.base + self.slope * ratio

    def margin(self, area: int) -> float:
        """By what share dense has to be faster on a map of that area."""
        return FAR_MARGIN if area > 2 * self.area else MARGIN

    def prefers_dense(self, ratio: float, area: int) -> bool:
        """Whether the dense form is faster by more than the margin, at that ratio on a map of that area."""
        return self.dense * (1 + self.margin(area)) < self.sparse(ratio)

    def crossover(self, area: int) -> float | None:
        """The ratio above which dense is preferred; None where it is at none, 0 where it is at all."""
        if self.prefers_dense(0, area):
            return 0.0
        if not self.prefers_dense(1, area):
            return None
        return (self.dense * (1 + self.margin(area)) - self.base) / self.slope

    def fits(self, area: int) -> bool:
        """Whether they hold for a map of that area.

        Small maps pay more overhead for each pixel and stay in the cache, so costs hold from half of the area that was
        timed to its double, and further where there was no time for more.
        """
        return self.area <= 2 * area <= 4 * max(self.area, self.reach)


def fit(area: int, dense: Sequence[float], sparse: Mapping[float, Sequence[float]], reach: int = 0) -> Costs:
    """The costs that agree best with seconds of single runs.

    Args:
        area: pixels of the map that ran.
        dense: seconds of the dense form. sparse: of the sparse form, for each ratio that it computed.
        reach: see `Costs`.

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
    return Costs(area, median(dense) / area, mean_time - slope * mean_ratio, slope, reach)
