"""Costs of the MGA paper's ablations (ECCV 2022, tables 3 to 6) against the printed ones, cell by cell.

    python -m benchmarks.mga_ablations [--extension] [--json FILE]

The convention is that of mga_table1.py. K is 1000 at p = 4; table 6 keeps K·p² constant. With other patch sizes the
sides of Urban100 are floored to multiples of p; the images of the other sets are not at hand, so that their mean area
is that at p = 4. At x2 it is four times that at x4. `--extension` prints M at p = 8 and 16, where the halo costs less,
beside p = 4 for the five networks at x4 on Urban100.
"""
from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import variant_of
from benchmarks.mga_table1 import AREAS, NETWORKS, SHARED, line, published_number

PIXELS = 16_000  # K·p²
PAN = {'type': 'PAN'}
FSRCNN = {'type': 'FSRCNN'}


class Row(NamedTuple):
    """A row of a printed table: its method, and the network that it stands for."""

    method: str
    variant: str
    options: Mapping[str, Any]


class Ablation(NamedTuple):
    """A printed table: its number, its file in paper/, its scale, and its rows."""

    number: int
    file: str
    scale: int
    rows: tuple[Row, ...]


ABLATIONS = (
    Ablation(3, 'mga_table3_mp_channels_x4.csv', 4, (
        Row('PAN-B', 'B', {'backbone': PAN}), Row('PAN-M(1C)', 'M', {'backbone': PAN, 'mask_channels': 1}),
        Row('PAN-M', 'M', {'backbone': PAN}), Row('PAN-D', 'D', {'backbone': PAN}))),
    Ablation(4, 'mga_table4_training_x2.csv', 2, (
        Row('FSRCNN-B', 'B', {'backbone': FSRCNN}),
        *(Row(f'FSRCNN-M{training}', 'M', {'backbone': FSRCNN}) for training in ('(E2E)', '(w/o S)', '')),
        Row('FSRCNN-D', 'D', {'backbone': FSRCNN}))),
    Ablation(5, 'mga_table5_split_x2.csv', 2, (
        *(Row(f'PAN-M({a} + {b})', 'M', {'backbone': PAN, 'split_blocks': (a, b)})
          for a, b in ((10, 6), (12, 4), (14, 2))), Row('PAN-D', 'D', {'backbone': PAN}))),
    Ablation(6, 'mga_table6_patch_size_x4.csv', 4, (
        Row('FSRCNN-B', 'B', {'backbone': FSRCNN}),
        *(Row(f'FSRCNN-M({p})', 'M', {'backbone': FSRCNN, 'patch_size': p}) for p in (2, 4, 8)),
        Row('FSRCNN-D', 'D', {'backbone': FSRCNN}))),
)


class Cell(NamedTuple):
    """A printed cost and ours."""

    table: int
    method: str
    test_set: str
    paper: float
    ours: float

    @property
    def deviation(self) -> float:
        """(ours − paper) / paper."""
        return self.ours / self.paper - 1


def urban100_area(folder: Path, scale: int, multiple: int) -> float:
    """Mean LR area of Urban100, its sides floored to multiples."""
    with (folder / 'urban100_sizes.csv').open(encoding='utf-8') as file:
        areas = [math.prod(int(row[side]) // scale // multiple * multiple for side in ('height', 'width'))
                 for row in csv.DictReader(file)]
    return math.fsum(areas) / len(areas)


def mean_area(folder: Path, test_set: str, scale: int, patch_size: int) -> float:
    """Mean LR area of a test set."""
    if test_set == 'urban100':
        return urban100_area(folder, scale, patch_size)
    areas = AREAS[test_set]
    return areas[scale] if scale in areas else areas[4] * (4 / scale)**2


def cost_line(row: Row, scale: int) -> tuple[float, float]:
    """Slope and constant of a row's cost over the LR area."""
    p = row.options.get('patch_size', 4)
    with torch.device('meta'):
        options = {**row.options, 'backbone': {**row.options['backbone'], 'upscale': scale}}
        return line(variant_of(MGA(k=PIXELS // p**2, **options), row.variant))


def cells(ablation: Ablation, folder: Path) -> Iterator[Cell]:
    """The three costs of each row."""
    with (folder / ablation.file).open(encoding='utf-8') as file:
        printed = {row['method']: row for row in csv.DictReader(file)}
    for row in ablation.rows:
        slope, constant = cost_line(row, ablation.scale)
        for test_set in AREAS:
            area = mean_area(folder, test_set, ablation.scale, row.options.get('patch_size', 4))
            yield Cell(ablation.number, row.method, test_set,
                       published_number(printed[row.method][f'{test_set}_gflops']), (slope * area + constant) / 1e9)


def extension(folder: Path) -> Iterator[tuple[str, dict[int, float]]]:
    """Costs of M on Urban100 at x4 by patch size, K·p² constant, of each network."""
    for network in NETWORKS:
        costs = {}
        for p in (4, 8, 16):
            slope, constant = cost_line(Row('', 'M', {'backbone': {'type': network}, 'patch_size': p}), 4)
            costs[p] = (slope * urban100_area(folder, 4, p) + constant) / 1e9
        yield network, costs


def main(argv: Sequence[str] | None = None) -> None:
    """Print every cell: the paper's figure, ours, and the deviation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--extension', action='store_true', help='costs at p = 8 and 16')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args(argv)
    found = [cell for ablation in ABLATIONS for cell in cells(ablation, SHARED / 'paper')]
    shown = Table('table', 'method', 'set', 'paper', 'ours', 'deviation')
    for cell in found:
        shown.add_row(str(cell.table), cell.method, cell.test_set, f'{cell.paper:.2f}', f'{cell.ours:.2f}',
                      f'{100 * cell.deviation:+.3f} %')
    console = Console(width=100)
    console.print(shown)
    if args.extension:
        shown = Table('M, x4, Urban100', 'p = 4', 'p = 8', 'p = 16')
        for network, costs in extension(SHARED / 'paper'):
            shown.add_row(network, *(f'{cost:.2f}' for cost in costs.values()))
        console.print(shown)
    if args.json:
        Path(args.json).write_text(json.dumps([{**cell._asdict(), 'deviation': cell.deviation} for cell in found],
                                              indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
