"""Times a dense and a sparse form turn by turn, for a few seconds at most."""
from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from basicsr_amsr.execution.cost.costs import Costs, fit
from basicsr_amsr.execution.timing import garbage_collection_paused, timed

KEEPS = (0.35, 0.9)  # far apart, as few points fix a line best; dense wins between them, if anywhere
FIRST_AREA = 32 * 32  # pixels of the map whose time says how large the one may be that is measured
SECONDS = 2.0  # for everything; as long as two rounds of the image itself take, where that is more, but never more than
MOST_SECONDS = 10.0
ROUNDS = (2, 9)  # as many as fit; few of a large map say more than many of a small one, as large maps leave the cache
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
    with garbage_collection_paused():
        first = probe_of(min(area, FIRST_AREA))
        for keep in KEEPS:
            first.sparse(keep)
        first.dense()
        per_pixel = max(timed(first.dense, device, clock)[0] / first.area, 1e-12)
        budget = min(max(SECONDS, PASSES * per_pixel * area), MOST_SECONDS)
        affordable = int(budget / PASSES / per_pixel + 0.5)
        probe = first if area <= FIRST_AREA else probe_of(min(max(affordable, FIRST_AREA), area))
        dense: list[float] = []
        sparse: dict[float, tuple[float, list[float]]] = {}
        started = clock()
        for done in range(1, ROUNDS[1] + 1):
            dense.append(timed(probe.dense, device, clock)[0])
            for asked in KEEPS:
                taken, keep = timed(partial(probe.sparse, asked), device, clock)
                sparse.setdefault(asked, (keep, []))[1].append(taken)
            used = clock() - started
            if done >= ROUNDS[0] and used * (1 + 1 / done) > budget:
                break
        warm = int(len(dense) > ROUNDS[0])  # the first round prepares kernels for these shapes
    times = {keep: taken[warm:] for keep, taken in sparse.values()}
    return fit(probe.area, dense[warm:], times, affordable < area)
