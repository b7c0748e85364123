"""Time of a network that computes everything, by each engine that can run it."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from basicsr_amsr.execution.cost.costs import holds
from basicsr_amsr.execution.timer import time_paired

Engine = Literal['native', 'torch', 'openvino']
MARGIN = 1.03  # by so much OpenVINO has to be faster, as it has to be prepared for each size and process
SECONDS = 5.0  # of all rounds together
ROUNDS = (2, 5)


@dataclass(frozen=True)
class WholeCosts:
    """Seconds per pixel of the LR images; None for an engine that does not run the network.

    Attributes:
        area: pixels of the images that were timed.
        native, torch, openvino: the engines.
        prepare: seconds until OpenVINO is ready for a size.
    """

    area: int
    native: float | None
    torch: float
    openvino: float | None
    prepare: float

    def __post_init__(self) -> None:
        numbers = [each for each in asdict(self).values() if each is not None]
        if not all(isinstance(each, (int, float)) and math.isfinite(each) and each >= 0 for each in numbers) or not (
                self.area > 0 and isinstance(self.torch, (int, float))):
            raise ValueError(f'no costs: {asdict(self)}')

    def fits(self, area: int) -> bool:
        """Whether they hold for images of that area."""
        return holds(self.area, area)

    @property
    def own(self) -> Engine:
        """The faster one of those that need no preparation."""
        return 'torch' if self.native is None or self.torch < self.native else 'native'

    def saving(self, area: int, best: float | None = None) -> float:
        """Seconds that OpenVINO saves of images of that area; 0 where that is not worth it.

        Args:
            best: seconds that the fastest of the other forms takes for them; None: that of `own`.
        """
        if best is None:
            best = area * min(self.torch, self.torch if self.native is None else self.native)
        if self.openvino is None or best < MARGIN * area * self.openvino:
            return 0.0
        return best - area * self.openvino


def measure_whole(forms: Mapping[Engine, Callable[[], Any]], area: int, prepare: float,
                  clock: Callable[[], float] = time.perf_counter) -> WholeCosts:
    """The costs of engines on images of that area, turn by turn.

    Args:
        forms: run the images; 'torch' is one of them.
        prepare: see `WholeCosts`.
        clock: seconds, increasing.
    """
    times = time_paired({str(engine): run for engine, run in forms.items()}, 'cpu', SECONDS, 1, *ROUNDS, clock=clock)
    found = {engine: times.latency(engine).median / 1e3 / area for engine in forms}
    return WholeCosts(area, found.get('native'), found['torch'], found.get('openvino'), prepare)
