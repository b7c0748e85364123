"""`basicsr list`: every name in every registry and where it comes from, and the weights that come with the project."""
from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from basicsr_amsr.cli.flags.list_flags import KINDS
from basicsr_amsr.cli.garbage import uncollected
from basicsr_amsr.cli.metrics_report import print_json, show
from basicsr_amsr.weights.cards import available, calibration_card, calibrations_of

WEIGHTS = 'pretrained'


def run(args: argparse.Namespace) -> int:
    """Print the names; returns 0."""
    kinds = [args.kind] if args.kind else list(KINDS)
    names = []
    if kinds != [WEIGHTS]:
        with uncollected():
            from basicsr_amsr.cli.registered import entries  # brings PyTorch and BasicSR along: seconds
        names = entries([kind for kind in kinds if kind != WEIGHTS])
    if WEIGHTS in kinds:
        names += weights()
    if args.json:
        print_json(names)
    else:
        tables = {kind: [entry for entry in names if entry['kind'] == kind] for kind in kinds}
        show(*(weights_table(rows) if kind == WEIGHTS else table(kind, rows) for kind, rows in tables.items()))
    return 0


def table(kind: str, names: list[dict[str, Any]]) -> Table:
    """The names of one kind."""
    shown = Table(title=f'{kind} ({len(names)})', title_justify='left')
    details = kind in ('arch', 'backbone')
    for column in ('name', 'from', 'module', *(('methods', 'scales') if details else ())):
        shown.add_column(column, overflow='fold')
    for entry in names:
        more = [', '.join(entry.get('methods', [])), ', '.join(f'x{s}' for s in entry.get('scales', []))]
        shown.add_row(entry['name'], entry['from'], entry['module'], *(more if details else []))
    return shown


def weights() -> list[dict[str, Any]]:
    """What `Upscaler(name)` and `load_pretrained(name)` take, by name: kind, name, from, network, scale, bytes,
    licence, set5 (PSNR in dB), calibrations (their names, and how many times as fast as the best other engine, where
    that was measured), file."""
    return [{'kind': WEIGHTS, 'name': card.weights.stem, 'from': card.origin, 'network': dict(card.network),
             'scale': card.network.get('upscale'), 'bytes': card.weights.stat().st_size, 'licence': card.licence,
             'set5': card.set5, 'calibrations': {path.stem: calibration_card(path).get('speed_up')
                                                 for path in calibrations_of(card.weights)},
             'file': str(card.weights)} for card in available()]


def weights_table(found: list[dict[str, Any]]) -> Table:
    """The weights that come with the project."""
    shown = Table(title=f'{WEIGHTS} ({len(found)})', title_justify='left')
    for column in ('name', 'network', 'scale', 'MB', 'licence', 'Set5 (dB)', 'calibrated (speed-up)'):
        shown.add_column(column, overflow='fold')
    for entry in found:
        fast = ', '.join(f'{name} (x{speed})' if speed else name for name, speed in entry['calibrations'].items())
        shown.add_row(entry['name'], network_of(entry), f'x{entry["scale"]}' if entry['scale'] else '',
                      f'{entry["bytes"] / 1e6:.1f}', entry['licence'], f'{entry["set5"]:.2f}' if entry['set5'] else '',
                      fast)
    return shown


def network_of(entry: dict[str, Any]) -> str:
    """The network's type, and its options but for the scale."""
    return ', '.join(str(value) if key == 'type' else f'{key} {json.dumps(value)}'
                     for key, value in entry['network'].items() if key != 'upscale')
