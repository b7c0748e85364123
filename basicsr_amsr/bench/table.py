"""A comparison as a table, and what there is to say below it."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from basicsr_amsr.bench.contenders import Amount
from basicsr_amsr.profiling.table import number

Report = Mapping[str, Any]
HEADINGS = ('ms', 'speed-up', 'ideal', 'efficiency', 'active', 'MACs / dense')


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
        fastest = '*' if entry['name'] == report['fastest_dense'] else ''
        quality = [number(entry['psnr'], 3), number(entry['psnr_loss'], 3)] if with_psnr else []
        table.add_row(entry['form'] + fastest, entry['backend'], asked(entry), number(entry['latency_ms']['median']),
                      number(entry['speed_up']['median'], 3), number(entry['ideal'], 3),
                      number(entry['efficiency'], 3), number(entry['mask_ratio'], 3), number(entry['macs_share'], 3),
                      *quality)
    return table


def lines(report: Report) -> list[str]:
    """The rival, where masks are from, crossovers, compile times, the fastest at a quality, and what was left out."""
    found = []
    if report['fastest_dense']:
        found.append(f'* the fastest dense form, {report["fastest_dense"]}: what speed-up and ideal are against. '
                     f'{report["rounds"]} rounds in changing order, torch {report["torch"]}.')
    shown = ', '.join(report['images'])
    found.append(f'masks: {report["source"]}' + ('; give --images DIR for those of real images'
                                                 if report['source'] == 'noise' else f' ({shown})')
                 + f'; weights: {report["weights"]}')
    found += [f'{one["form"]} ({one["backend"]}): {one["says"]}' for one in report['crossovers']]
    found += [f'{entry["name"]}: the first call took {entry["compile_seconds"]:.1f} s, which is in no other figure'
              for entry in report['contenders'] if entry['compile_seconds'] is not None]
    found += [f'fastest at most {one["loss_db"]:g} dB below dense: {one["form"]} {asked(one)} ({one["backend"]}), '
              f'{one["latency_ms"]:.2f} ms, speed-up {one["speed_up"]:.3f}'.replace('  ', ' ')
              for one in report['fastest_within']]
    found += [f'not measured: {one["contender"]}: {one["why"]}' for one in report['not_measured']]
    return found
