"""Times a dense and a sparse form turn by turn, for a few seconds at most."""
from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from basicsr_amsr.execution.cost.costs import Costs, fit
from basicsr_amsr.execution.timer import time_paired

KEEPS = (0.35, 0.9)  # far apart, as few points fix a line best; dense wins between them, if anywhere
FIRST_AREA = 32 * 32  # pixels of the map whose time says how large the one may be that is measured
SECONDS = 2.0  # for everything; as long as two rounds of the image itself take, where that is more, but never more than
MOST_SECONDS = 10.0
ROUNDS = (1, 8)  # and one to warm up; few of a large map say more than many of a small one, which stays in the cache
PASSES = 5  # dense ones that it costs at least: two rounds of one dense and two sparse forms, and the first map


class Probe(NamedTuple):
    """A map on which the forms can be run.

    Attributes:
        area: its pixels.
        dense: runs the dense form.
        sparse: runs the sparse form at about that share, and returns the share that it had.
    """

    area: int
    dense: Callable[[], Any]
    sparse: Callable[[float], float]


def measure(probe_of: Callable[[int], Probe], area: int, device: torch.device,
            clock: Callable[[], float] = time.perf_counter) -> Costs:
    """The costs of the forms, on a map as large as time allows and never larger than the one that is to be processed.

    Args:
        probe_of: makes a probe of about that many pixels.
        area: of the map that is to be processed.
        device: that is waited for.
        clock: seconds, increasing.
    """
    first = probe_of(min(area, FIRST_AREA))
    for asked in KEEPS:
        first.sparse(asked)
    single = time_paired({'dense': first.dense}, device, 0.0, 1, 1, 1, clock=clock).latency('dense').median / 1e3
    per_pixel = max(single / first.area, 1e-12)
    budget = min(max(SECONDS, PASSES * per_pixel * area), MOST_SECONDS)
    affordable = int(budget / PASSES / per_pixel + 0.5)
    probe = first if area <= FIRST_AREA else probe_of(min(max(affordable, FIRST_AREA), area))
    keeps: dict[float, float] = {}

    def run_sparse(asked: float) -> None:
        keeps[asked] = probe.sparse(asked)

    calls: dict[str, Callable[[], Any]] = {'dense': probe.dense}
    calls |= {str(asked): partial(run_sparse, asked) for asked in KEEPS}
    times = time_paired(calls, device, budget, 1, *ROUNDS, clock=clock)
    seconds = {name: times.latency(name).median / 1e3 for name in calls}
    return fit(probe.area, seconds['dense'], {keeps[asked]: seconds[str(asked)] for asked in KEEPS}, affordable < area)
