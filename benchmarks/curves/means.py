"""Means of what was measured, and the table they are kept in."""
from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.curves.measure import Line, read
from benchmarks.curves.points import Point


class Mean(NamedTuple):
    """Of a point over a set: images, PSNR against dense in dB, MACs and time as shares of dense (None: not known)."""

    images: int
    loss: float
    macs: float
    time: float | None


# By set and point.
Means = dict[str, dict[Point, Mean]]
KEYS = ['network', 'set', *Point._fields, *Mean._fields]


def means(lines: Sequence[Line]) -> Means:
    """Of one network. Time is the sum of the point's over the sum of the dense network's."""
    groups: dict[str, dict[Point, list[Line]]] = {}
    for line in lines:
        groups.setdefault(line['set'], {}).setdefault(Point(*line['point']), []).append(line)
    return {name: {point: _mean(group) for point, group in found.items()} for name, found in groups.items()}


def _mean(group: Sequence[Line]) -> Mean:
    def column(name: str) -> Any:
        return np.array([line[name] for line in group if line[name] is not None])

    return Mean(len(group), float((column('psnr') - column('dense_psnr')).mean()), float(column('macs').mean()),
                float(column('seconds').sum() / column('dense_seconds').sum()))


def load_means(files: Sequence[str]) -> dict[str, Means]:
    """What files have, by network, a later file's where two have the same: tables (.csv), or lines for each image."""
    found: dict[str, Means] = {}
    for name in files:
        if name.endswith('.csv'):
            known = _table(Path(name))
        else:
            lines = read(Path(name))
            known = {lines[0]['network']: means(lines)}
        for network, sets in known.items():
            for each, dots in sets.items():
                found.setdefault(network, {}).setdefault(each, {}).update(dots)
    return found


def _table(file: Path) -> dict[str, Means]:
    found: dict[str, Means] = {}
    with file.open(newline='', encoding='utf-8') as opened:
        for row in csv.DictReader(opened):
            point = Point(row['form'], float(row['keep']), int(row['patch_size']), int(row['smooth']),
                          int(row['count']))
            mean = Mean(int(row['images']), float(row['loss']), float(row['macs']),
                        float(row['time']) if row['time'] else None)
            found.setdefault(row['network'], {}).setdefault(row['set'], {})[point] = mean
    return found


def save_means(found: Mapping[str, Means], file: str) -> None:
    """A table, from which `load_means` has the same to four digits behind the point."""
    with Path(file).open('w', newline='', encoding='utf-8') as opened:
        writer = csv.writer(opened, lineterminator='\n')
        writer.writerow(KEYS)
        for network, sets in sorted(found.items()):
            for name, dots in sorted(sets.items()):
                for point, mean in sorted(dots.items()):
                    rounded = ['' if value is None else f'{value:.4f}' for value in mean[1:]]
                    writer.writerow([network, name, *point, mean.images, *rounded])
