"""A profile as one HTML file, picture and tables inside."""
from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from basicsr_amsr.profiling.figures_table import RATIO_ROWS, ROWS, number, percent

STYLE = """
body { font: 14px/1.4 sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222; }
img { max-width: 100%; } h2 { margin-top: 1.6em; }
table { border-collapse: collapse; } td, th { padding: 2px 10px; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child, td.text, th.text { text-align: left; } td:first-child { white-space: pre; }
"""


def page(title: str, notes: Sequence[str], figures: Mapping[str, Mapping[str, Any]], dense: str | None,
         picture: bytes) -> str:
    """HTML that needs no other file.

    Args:
        title: what was profiled. notes: lines below it: on what, with which weights.
        figures: those of `profile_networks`. dense: which network is the dense one.
        picture: PNG of `draw`.
    """
    parts = [f'<h1>{escape(title)}</h1>', *(f'<p>{escape(note)}</p>' for note in notes)]
    rows = {**ROWS, **(RATIO_ROWS if dense else {})}
    heads = [f'{name} (dense)' if name == dense else name for name in figures]
    parts.append(table(['', *heads], ([label, *map(cell, figures.values())] for label, cell in rows.items())))
    parts.append(f'<img alt="masks, MACs by module, comparison" '
                 f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">')
    for name, network in figures.items():
        parts += [f'<h2>{escape(name)} by module</h2>', module_rows(network),
                  f'<h2>{escape(name)} by operator</h2>', operator_rows(network)]
        if 'images' in network:
            parts += [f'<h2>{escape(name)} by image</h2>', image_rows(network)]
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            f'<style>{STYLE}</style></head><body>\n' + '\n'.join(parts) + '\n</body></html>\n')


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table."""
    def line(tag: str, cells: Sequence[str]) -> str:
        return '<tr>' + ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells) + '</tr>'

    return '<table>' + line('th', head) + ''.join(line('td', row) for row in rows) + '</table>'


def module_rows(network: Mapping[str, Any]) -> str:
    """The break-down by module."""
    head = ['module', 'type', 'parameters', '%', 'MACs (G)', '%', 'activations (M)', '%', 'convolutions']
    return table(head, (
        [path or 'whole network', row['type'], f'{row["params"]:,}', percent(row, 'params'),
         number(row['macs'], 3, 1e9), percent(row, 'macs'), number(row['activations'], 3, 1e6),
         percent(row, 'activations'), f'{row["convolutions"]:,.6g}'] for path, row in network['by_module'].items()))


def operator_rows(network: Mapping[str, Any]) -> str:
    """The break-down by operator."""
    return table(['operator', 'calls', 'MACs (G)', '%', 'activations (M)', 'counts nothing, because'], (
        [name.removeprefix('aten::'), f'{row["calls"]:,.6g}', number(row['macs'], 3, 1e9), percent(row, 'macs'),
         number(row['activations'], 3, 1e6), row.get('why', '')] for name, row in network['by_operator'].items()))


def image_rows(network: Mapping[str, Any]) -> str:
    """The figures of each image."""
    return table(['image', 'size', 'MACs (G)', 'keep', 'latency (ms)', 'efficiency'], (
        [one['name'], '{}x{}'.format(*one['size']), number(one['macs'], 3, 1e9), number(one['keep'], 3),
         number((one['latency_ms'] or {}).get('median')), number(one.get('ratios', {}).get('efficiency'))]
        for one in network['images']))
