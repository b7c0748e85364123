"""A comparison as a table, and what there is to say below it."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from basicsr_amsr.bench.grid import Amount
from basicsr_amsr.profiling.figures_table import number

Report = Mapping[str, Any]
HEADINGS = ('ms', 'quartiles', 'speed-up', 'efficiency', 'active', 'MACs / dense', 'dB to dense', 'first picture (s)',
            'MiB', 'page faults')


def title(report: Report) -> str:
    """Network, size, device, type."""
    return (f'{report["network"]}, LR {"{}x{}".format(*report["size"])}, {report["device"]} ({report["device_name"]}), '
            f'{report["dtype"]}, {report["threads"]} threads')


def asked(entry: Mapping[str, Any]) -> str:
    """'25 %', 'budget 60 %', 'share 40 %'; '' of what was not asked for an amount."""
    if not entry['asked']:
        return ''
    return str(Amount(*next(iter(entry['asked'].items()))))


def report_table(report: Report) -> Table:
    """One row per contender, a section per form."""
    table = Table(title=title(report), title_justify='left')
    for heading in ('form', 'backend', 'asked'):
        table.add_column(heading)
    with_psnr = any(entry['psnr'] is not None for entry in report['contenders'])
    for heading in (*HEADINGS, *(['PSNR (dB)', 'loss'] if with_psnr else [])):
        table.add_column(heading, justify='right')
    section = None
    for entry in report['contenders']:
        group = entry['form'].removeprefix('auto, ') if entry['kind'] in ('sparse', 'auto') else entry['kind']
        if section not in (None, group):
            table.add_section()
        section = group
        best = '*' if entry['name'] == report['best_dense'] else ''
        latency = entry['latency_ms']
        quality = [number(entry['psnr'], 3), number(entry['psnr_loss'], 3)] if with_psnr else []
        table.add_row(entry['form'] + best, entry['backend'], asked(entry), number(latency['median']),
                      f'{latency["q1"]:.1f} to {latency["q3"]:.1f}', number(entry['speed_up']['median'], 3),
                      number(entry['efficiency'], 3), number(entry['keep'], 3), number(entry['macs_share'], 3),
                      decibels(entry['psnr_to_dense']), number(entry['first_picture_s'], 2),
                      number(entry['peak_memory_mb'], 0), faults(entry['page_faults']), *quality)
    return table


def decibels(value: float) -> str:
    """'61.3', 'equal'."""
    return 'equal' if value == math.inf else f'{value:.1f}'


def faults(value: float | None) -> str:
    """'770 k', '12'; '-' where it is not known."""
    if value is None:
        return number(None)
    return f'{value / 1000:.0f} k' if value >= 1000 else f'{value:.0f}'


def lines(report: Report) -> list[str]:
    """The rival, where masks are from, crossovers, the fastest at a quality, and what was left out."""
    found = []
    if report['best_dense']:
        versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
        found.append(f'* the best dense form, {report["best_dense"]}: what speed-up and efficiency are against. Each '
                     f'contender in a process of its own, {report["rounds"]} rounds in changing order; {versions}.')
    shown = ', '.join(report['images'])
    found.append(f'masks: {report["source"]}' + ('; give --images DIR for those of real images'
                                                 if report['source'] == 'noise' else f' ({shown})')
                 + f'; weights: {report["weights"]}')
    found += [f'{one["form"]} ({one["backend"]}): {one["says"]}' for one in report['crossovers']]
    found += [f'fastest at most {one["loss_db"]:g} dB below dense: {one["form"]} {asked(one)} ({one["backend"]}), '
              f'{one["latency_ms"]:.2f} ms, speed-up {one["speed_up"]:.3f}'.replace('  ', ' ')
              for one in report['fastest_within']]
    found += [f'not measured: {one["contender"]}: {one["why"]}' for one in report['not_measured']]
    return found
