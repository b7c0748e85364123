"""Comparisons as a picture: time against active share with the crossover to dense, quality against time."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from basicsr_amsr.drawing import COLOURS, as_png, new_figure

Report = Mapping[str, Any]
COLUMNS = 3


def draw(reports: Sequence[Report]) -> bytes:
    """PNG with a panel of times for each comparison, and below one of PSNR against time where that was measured."""
    times = [report for report in reports if report['contenders']]
    qualities = [report for report in times if any(entry['psnr'] is not None for entry in report['contenders'])]
    columns = max(1, min(COLUMNS, len(times)))
    rows = [math.ceil(len(group) / columns) for group in (times, qualities)]
    figure = new_figure(5.2 * columns, 4 * max(1, sum(rows)))
    panels = figure.subplots(max(1, sum(rows)), columns, squeeze=False)
    for panel in panels.flatten():
        panel.set_visible(False)
    for panel, report in zip(panels[:rows[0]].flatten(), times, strict=False):
        _times(panel, report)
    for panel, report in zip(panels[rows[0]:].flatten(), qualities, strict=False):
        _quality(panel, report)
    return as_png(figure)


def curves(report: Report) -> dict[str, list[Mapping[str, Any]]]:
    """The sparse contenders by form and backend, by active share."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in report['contenders']:
        if entry['kind'] == 'sparse':
            found.setdefault(f'{entry["form"]} ({entry["backend"]})', []).append(entry)
    return {name: sorted(entries, key=lambda entry: entry['keep']) for name, entries in found.items()}


def _times(panel: Any, report: Report) -> None:
    _start(panel, report)
    for number, entry in enumerate(one for one in report['contenders'] if one['kind'] in ('dense', 'reference')):
        fastest = entry['name'] == report['best_dense']
        colour = 'black' if fastest else '#a0a0a0' if entry['kind'] == 'dense' else '#d0a0a0'
        panel.axhline(entry['latency_ms']['median'], color=colour,
                      linestyle=('-', '--', ':', '-.')[number % 4], linewidth=1.2, label=entry['name'])
    dense = next(one for one in report['contenders'] if one['name'] == report['best_dense'])
    crossing = {f'{one["form"]} ({one["backend"]})': one['keep'] for one in report['crossovers']}
    for (name, entries), colour in zip(curves(report).items(), COLOURS * len(report['contenders']), strict=False):
        middle = [entry['latency_ms']['median'] for entry in entries]
        spread = [[middle[i] - entry['latency_ms']['q1'] for i, entry in enumerate(entries)],
                  [entry['latency_ms']['q3'] - middle[i] for i, entry in enumerate(entries)]]
        panel.errorbar([entry['keep'] for entry in entries], middle, spread, color=colour, marker='o',
                       markersize=3, linewidth=1.3, capsize=2, label=name)
        if crossing[name] is not None:
            panel.plot(crossing[name], dense['latency_ms']['median'], 'x', color=colour, markersize=9)
    panel.set(xlim=(0, 1.02), xlabel='active share (x: crossover to dense)', ylabel='ms, median and quartiles')
    panel.set_ylim(bottom=0)
    panel.legend(fontsize='xx-small')


def _quality(panel: Any, report: Report) -> None:
    _start(panel, report)
    dense = next(one for one in report['contenders'] if one['name'] == report['best_dense'])
    if dense['psnr'] is not None:
        panel.plot(dense['latency_ms']['median'], dense['psnr'], '*', color='black', markersize=10,
                   label=report['best_dense'])
    for (name, entries), colour in zip(curves(report).items(), COLOURS * len(report['contenders']), strict=False):
        panel.plot([entry['latency_ms']['median'] for entry in entries], [entry['psnr'] for entry in entries], 'o-',
                   color=colour, markersize=3, linewidth=1.3, label=name)
    panel.set(xlabel='ms, median', ylabel='PSNR on Y (dB)')
    panel.legend(fontsize='xx-small')


def _start(panel: Any, report: Report) -> None:
    panel.set_visible(True)
    panel.set_title(f'{report["network"]}, {"{}x{}".format(*report["size"])}, {report["device"]}, {report["dtype"]}',
                    fontsize='medium')
    panel.grid(alpha=0.3)
