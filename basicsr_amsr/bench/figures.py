"""What the times say: speed-up against the best dense form, efficiency, crossover, the fastest at a quality."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from statistics import fmean
from typing import Any

from basicsr_amsr.profiling.timer import PairedTimes, Quartiles

LOSSES = (0.02, 0.05, 0.1)  # dB


def compare(times: PairedTimes, macs: Mapping[str, float], rivals: Sequence[str],
            images: int = 1) -> tuple[str, dict[str, dict]]:
    """Every contender against the fastest of the rivals.

    Args:
        times: of the rounds. macs: of each contender. rivals: names of the dense forms.
        images: so many are taken in turn, one in each round.

    Returns:
        The fastest rival, by median, and for each contender

        - `latency_ms`: {median, q1, q3, samples}, see `over_images`;
        - `speed_up`: {median, q1, q3, samples}, 1 over the same of the per-round ratios time / time of the fastest
          rival, which takes every image as long;
        - `ideal`: MACs of the rival / MACs; `macs`, and `macs_share` = 1 / ideal;
        - `efficiency`: median speed-up / ideal.
    """
    latency = {name: over_images(milliseconds, images) for name, milliseconds in times.milliseconds.items()}
    best = min(rivals, key=lambda name: latency[name].median)
    figures = {}
    for name, milliseconds in times.milliseconds.items():
        part = over_images([own / dense for own, dense in zip(milliseconds, times.milliseconds[best], strict=True)],
                           images)
        speed_up, ideal = Quartiles(1 / part.median, 1 / part.q3, 1 / part.q1, part.samples), macs[best] / macs[name]
        figures[name] = {'latency_ms': asdict(latency[name]), 'speed_up': asdict(speed_up), 'ideal': ideal,
                         'efficiency': speed_up.median / ideal, 'macs': macs[name], 'macs_share': 1 / ideal}
    return best, figures


def over_images(values: Sequence[float], images: int) -> Quartiles:
    """Median and quartiles of each image's values, and of these the means over the images: how much of an image is
    computed, and so its time, may depend on it.

    Args:
        values: of the rounds. images: so many are taken in turn.
    """
    each = [Quartiles.of(values[image::images]) for image in range(min(images, len(values)))]
    return Quartiles(fmean(one.median for one in each), fmean(one.q1 for one in each), fmean(one.q3 for one in each),
                     len(values))


def crossover(points: Sequence[tuple[float, float]]) -> float | None:
    """The active ratio from which on dense is faster.

    Args:
        points: (active ratio, speed-up) as measured, in any order.

    Returns:
        Where the time as a share of the dense one, linear between the points, first rises above 1; None if it is on one
        side of 1 throughout.
    """
    ordered = sorted((ratio, 1 / speed_up) for ratio, speed_up in points)
    for (left, below), (right, above) in pairwise(ordered):
        if below <= 1 < above:
            return left + (right - left) * (1 - below) / (above - below)
    return None


def crossovers(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each sparse form and backend `active_ratio`, see `crossover`, and `says`, the same in words.

    Args:
        entries: contenders as in a report.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for entry in entries:
        if entry['kind'] == 'sparse':
            curves.setdefault((entry['form'], entry['backend']), []).append(
                (entry['mask_ratio'], entry['speed_up']['median']))
    return [{'form': form, 'backend': backend, 'active_ratio': crossover(points), 'says': in_words(points)}
            for (form, backend), points in curves.items()]


def in_words(points: Sequence[tuple[float, float]]) -> str:
    """Where dense is faster."""
    ratio = crossover(points)
    if ratio is not None:
        return f'dense is faster above {100 * ratio:.0f} % active'
    faster = [speed_up >= 1 for _, speed_up in points]
    if all(faster):
        return 'faster than dense wherever measured'
    return 'slower than dense wherever measured' if not any(faster) else 'dense is faster at the lower ratios measured'


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
