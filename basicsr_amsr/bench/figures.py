"""What the times say: speed-up against the best dense form, efficiency, crossover, the fastest at a quality."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, pairwise
from statistics import fmean, median
from typing import Any

from basicsr_amsr.execution.timer import Quartiles

Times = Sequence[Sequence[Sequence[float]]]  # milliseconds: rounds, images, passes
LOSSES = (0.02, 0.05, 0.1)  # dB


def compare(times: Mapping[str, Times], macs: Mapping[str, float],
            dense: Sequence[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Every contender against the best dense form.

    Args:
        times: of each contender. macs: of each. dense: names of the dense forms, rivals among them.

    Returns:
        The best dense form, that of lowest time, and for each contender

        - `latency_ms`: {median, q1, q3, samples} of all passes of each image, means over the images;
        - `speed_up`: {median, q1, q3, samples}: time of the best dense form / time, by the medians of the passes of a
          round, over the rounds; 1 over the mean over the images of its inverse, which takes every image as long;
        - `time_share`: 1 / median speed-up;
        - `ideal`: dense MACs / MACs; `macs`, and `macs_share` = 1 / ideal;
        - `efficiency`: median speed-up x MACs / dense MACs.
    """
    latency = {name: mean_of(Quartiles.of([*chain.from_iterable(rounds)]) for rounds in by_image(each))
               for name, each in times.items()}
    best = min(dense, key=lambda name: latency[name].median)
    figures = {}
    for name, each in times.items():
        part = mean_of(Quartiles.of([median(own) / median(other) for own, other in zip(rounds, others, strict=True)])
                       for rounds, others in zip(by_image(each), by_image(times[best]), strict=True))
        speed_up, ideal = Quartiles(1 / part.median, 1 / part.q3, 1 / part.q1, part.samples), macs[best] / macs[name]
        figures[name] = {'latency_ms': asdict(latency[name]), 'speed_up': asdict(speed_up), 'time_share': part.median,
                         'ideal': ideal, 'efficiency': speed_up.median / ideal, 'macs': macs[name],
                         'macs_share': 1 / ideal}
    return best, figures


def by_image(times: Times) -> list[list[Sequence[float]]]:
    """The passes of each round, by image."""
    return [list(rounds) for rounds in zip(*times, strict=True)]


def mean_of(quartiles: Iterable[Quartiles]) -> Quartiles:
    """Means over the images, and all their samples: how much of an image is computed, and so its time, may depend on
    it."""
    each = list(quartiles)
    return Quartiles(fmean(one.median for one in each), fmean(one.q1 for one in each), fmean(one.q3 for one in each),
                     sum(one.samples for one in each))


def crossover(points: Sequence[tuple[float, float]]) -> float | None:
    """The active share from which on dense is faster.

    Args:
        points: (active share, speed-up) as measured, in any order.

    Returns:
        Where the time as a share of the dense one, linear between the points, first rises above 1; None if it is on one
        side of 1 throughout.
    """
    ordered = sorted((keep, 1 / speed_up) for keep, speed_up in points)
    for (left, below), (right, above) in pairwise(ordered):
        if below <= 1 < above:
            return left + (right - left) * (1 - below) / (above - below)
    return None


def crossovers(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each sparse form and backend `keep`, see `crossover`, and `says`, the same in words.

    Args:
        entries: contenders as in a report.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for entry in entries:
        if entry['kind'] == 'sparse':
            curves.setdefault((entry['form'], entry['backend']), []).append(
                (entry['keep'], entry['speed_up']['median']))
    return [{'form': form, 'backend': backend, 'keep': crossover(points), 'says': in_words(points)}
            for (form, backend), points in curves.items()]


def in_words(points: Sequence[tuple[float, float]]) -> str:
    """A sentence that says at which shares dense is faster."""
    keep = crossover(points)
    if keep is not None:
        return f'dense is faster above {100 * keep:.0f} % active'
    faster = [speed_up >= 1 for _, speed_up in points]
    if all(faster):
        return 'faster than dense wherever measured'
    return 'slower than dense wherever measured' if not any(faster) else 'dense is faster at the lower shares measured'


def fastest_within(entries: Sequence[Mapping[str, Any]], losses: Sequence[float] = LOSSES) -> list[dict[str, Any]]:
    """For each loss of PSNR against dense, the contender of lowest median time that loses no more; dense competes.

    Args:
        entries: contenders as in a report, with `psnr`. losses: in dB.

    Returns:
        {loss_db, form, backend, asked, psnr, psnr_loss, latency_ms (median), speed_up (median)} for each; empty where
        PSNR was not measured.
    """
    known = [entry for entry in entries if entry['psnr'] is not None]
    if not known:
        return []
    found = []
    for loss in losses:
        good = [entry for entry in known if entry['psnr_loss'] <= loss]
        entry = min(good, key=lambda one: one['latency_ms']['median'])
        found.append({'loss_db': loss, **{key: entry[key] for key in ('form', 'backend', 'asked', 'psnr', 'psnr_loss')},
                      **{key: entry[key]['median'] for key in ('latency_ms', 'speed_up')}})
    return found
