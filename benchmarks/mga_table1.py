"""Parameters and costs of the MGA networks against table 1 of the paper (ECCV 2022), cell by cell.

    python benchmarks/mga_table1.py [--networks RFDN,RCAN] [--scales 3,4] [--json FILE]

Costs are `macs_paper` (basicsr_amsr/profiling/macs.py) in units of 1e9, averaged over a set. Every layer's cost is
linear in the LR image's area but for two that do not show at two decimals (channel attention on 1×1 maps, RFDN's pooled
attention map), and M's K patches are constant. So cost = slope · area + constant is taken from two sizes, counted on
meta tensors, and evaluated at each set's mean LR area with height and width floored to multiples of p = 4.
"""
from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.profiling.side_by_side import variant_of

SHARED = Path(os.environ.get('BASICSR_AMSR_SHARED', Path(__file__).resolve().parents[2] / 'shared'))
NETWORKS = ('FSRCNN', 'PAN', 'RFDN', 'SRResNet', 'RCAN')
VARIANTS = ('B', 'D', 'A', 'M')
K = 1000
SIZES = ((128, 128), (128, 256))  # LR; 1,024 and 2,048 patches, so that M selects its K
# Mean LR area with sides floored to multiples of 4. Urban100: from its image sizes.
AREAS = {
    'urban100': {4: 48089.92, 3: 85180.32},
    'test2k': {4: 111872.0, 3: 198884.0},
    'test4k': {4: 429206.0, 3: 763034.0},
}
# The parameters that the table prints for SRResNet x3 are those of its x2 network.
PARAMETER_SCALE = {('SRResNet', 3): 2}


class Cell(NamedTuple):
    """A printed figure and ours."""

    scale: int
    method: str
    column: str
    paper: str
    ours: float

    @property
    def deviation(self) -> float:
        """(ours − paper) / paper."""
        return self.ours / published_number(self.paper) - 1

    @property
    def ours_printed(self) -> str:
        """Our figure with the paper's unit and digits."""
        if self.paper.endswith('K'):
            return f'{self.ours / 1e3:.0f}K'
        return f'{self.ours / 1e6:.2f}M' if self.paper.endswith('M') else f'{self.ours:.2f}'


def published_number(text: str) -> float:
    """'424K' to 424000.0, '11.05M' to 11050000.0, '34.42' to 34.42."""
    unit = {'K': 1e3, 'M': 1e6}.get(text[-1], 1.0)
    return float(text.rstrip('KM')) * unit


def published(folder: Path) -> dict[tuple[int, str], Mapping[str, str]]:
    """Rows of table 1 by scale and method."""
    with (folder / 'mga_table1.csv').open(encoding='utf-8') as file:
        return {(int(row['scale']), row['method']): row for row in csv.DictReader(file)}


def build(network: str, scale: int) -> nn.Module:
    """The MGA network on the meta device."""
    with torch.device('meta'):
        return MGA({'type': network, 'upscale': scale}, k=K)


def line(net: nn.Module) -> tuple[float, float]:
    """Slope and constant of `macs_paper` over the LR area."""
    areas = [height * width for height, width in SIZES]
    low, high = (count(net, torch.empty(1, 3, *size, device='meta')).macs_paper for size in SIZES)
    slope = (high - low) / (areas[1] - areas[0])
    return slope, low - slope * areas[0]


def cells(network: str, scale: int, table: Mapping[tuple[int, str], Mapping[str, str]]) -> Iterator[Cell]:
    """Parameters and the three costs of a network's four variants."""
    net = build(network, scale)
    weighed: Any = build(network, PARAMETER_SCALE[network, scale]) if (network, scale) in PARAMETER_SCALE else net
    for variant in VARIANTS:
        method = f'{network}-{variant}'
        row = table[scale, method]
        yield Cell(scale, method, 'params', row['params'], weighed.variant_parameters(variant))
        slope, constant = line(variant_of(net, variant))
        for name, areas in AREAS.items():
            yield Cell(scale, method, name, row[f'{name}_gflops'], (slope * areas[scale] + constant) / 1e9)


def main(argv: Sequence[str] | None = None) -> None:
    """Print every cell: the paper's figure, ours, and the deviation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', default=','.join(NETWORKS))
    parser.add_argument('--scales', default='3,4')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args(argv)
    table = published(SHARED / 'paper')
    found = [cell for scale in map(int, args.scales.split(',')) for network in args.networks.split(',')
             for cell in cells(network, scale, table)]
    shown = Table('scale', 'method', 'figure', 'paper', 'ours', 'deviation')
    for cell in found:
        shown.add_row(f'x{cell.scale}', cell.method, cell.column, cell.paper, cell.ours_printed,
                      f'{100 * cell.deviation:+.3f} %')
    Console(width=100).print(shown)
    for variant in VARIANTS:
        worst = max((cell for cell in found if cell.method.endswith(variant) and cell.column != 'params'),
                    key=lambda cell: abs(cell.deviation))
        print(f'largest cost deviation of {variant}: {100 * worst.deviation:+.3f} % ({worst.method} x{worst.scale}, '
              f'{worst.column})')
    if args.json:
        Path(args.json).write_text(json.dumps([{**cell._asdict(), 'deviation': cell.deviation} for cell in found],
                                              indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
