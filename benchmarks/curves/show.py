"""Tables and pictures of what was measured."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.curves.measure import Line
from benchmarks.curves.points import CALIBRATED, Point

LIMIT = -0.05  # dB, the goal


class Mean(NamedTuple):
    """Of a point over a set: images, PSNR and PSNR against dense in dB, MACs and time as shares of dense."""

    images: int
    psnr: float
    loss: float
    macs: float
    time: float


def means(lines: Sequence[Line]) -> dict[str, dict[Point, Mean]]:
    """By set and point. Time is the sum of the point's over the sum of the dense network's."""
    groups: dict[str, dict[Point, list[Line]]] = {}
    for line in lines:
        groups.setdefault(line['set'], {}).setdefault(Point(*line['point']), []).append(line)
    return {name: {point: _mean(group) for point, group in found.items()} for name, found in groups.items()}


def _mean(group: Sequence[Line]) -> Mean:
    def column(name: str) -> Any:
        return np.array([line[name] for line in group if line[name] is not None])

    return Mean(len(group), float(column('psnr').mean()), float((column('psnr') - column('dense_psnr')).mean()),
                float(column('macs').mean()), float(column('seconds').sum() / column('dense_seconds').sum()))


def show(title: str, found: Mapping[str, Mapping[Point, Mean]]) -> None:
    """Print a table, one column for each set."""
    table = Table('form', 'active', 'tile', title=title)
    for name, each in found.items():
        table.add_column(f'{name} ({max(mean.images for mean in each.values())}): dB, MACs, time')
    for point in dict.fromkeys(point for each in found.values() for point in each):
        cells = [each.get(point) for each in found.values()]
        table.add_row(point.form, f'-{point.count}' if point.count else f'{point.ratio:g}',
                      '' if point.count else str(point.tile),
                      *(f'{mean.loss:+.3f}, {mean.macs:.3f}, {mean.time:.2f}' if mean else '' for mean in cells))
    Console(width=140).print(table)


def draw(curves: Mapping[str, Mapping[str, Mapping[Point, Mean]]], file: str) -> None:
    """One row for each network, one column for each set: loss against MACs."""
    mpl.use('Agg')
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for found in curves.values() for name in found))
    _, axes = plt.subplots(len(curves), len(names), figsize=(5 * len(names), 3.6 * len(curves)), squeeze=False)
    for row, (network, found) in zip(axes, curves.items(), strict=True):
        for axis, name in zip(row, names, strict=True):
            forms: dict[str, list[Mean]] = {}
            for point, mean in found.get(name, {}).items():
                form = point.form + (f' {point.tile}x{point.tile}' if point.form in CALIBRATED else '')
                forms.setdefault(form, []).append(mean)
            for form, dots in forms.items():
                dots.sort(key=lambda mean: mean.macs)
                axis.plot([mean.macs for mean in dots], [mean.loss for mean in dots], marker='o', markersize=3,
                          label=form)
            axis.set(xlabel='MACs / dense', ylabel='PSNR against dense, dB', title=f'{network}, {name}',
                     xlim=(0.4, 1), ylim=(-0.5, 0.02))
            axis.axhline(LIMIT, color='gray', linewidth=0.5)
    axes[0][0].legend(fontsize=7)
    plt.tight_layout()
    plt.savefig(file, dpi=90)
