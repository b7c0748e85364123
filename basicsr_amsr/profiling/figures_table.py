"""The figures of networks side by side, as a table."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table


def number(value: float | None, digits: int = 2, unit: float = 1.0) -> str:
    """`value / unit` with `digits` decimals, or a dash."""
    return '-' if value is None else f'{value / unit:,.{digits}f}'


def latency(figures: Mapping[str, Any], *keys: str) -> str:
    """Milliseconds: 'median', or 'q1' to 'q3'."""
    times = figures['latency_ms']
    return '-' if times is None else ' to '.join(f'{times[key]:.2f}' for key in keys)


def ratio(key: str, digits: int = 3) -> Callable[[Mapping[str, Any]], str]:
    """Row of a ratio to the dense network."""
    return lambda figures: number(figures['ratios'][key], digits)


ROWS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    'parameters': lambda f: f'{f["params"]:,}',
    'MACs (G)': lambda f: number(f['macs'], 3, 1e9),
    'MACs, paper (G)': lambda f: number(f['macs_paper'], 3, 1e9),
    'activations (M)': lambda f: number(f['activations'], 3, 1e6),
    'convolutions': lambda f: f'{f["convolutions"]:,.6g}',
    'keep': lambda f: number(f['keep'], 3),
    'latency (ms)': lambda f: latency(f, 'median'),
    'quartiles (ms)': lambda f: latency(f, 'q1', 'q3'),
    'peak memory (MiB)': lambda f: number(f['peak_memory_mb'], 1),
}
RATIO_ROWS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    'MACs / dense': ratio('macs'),
    'time share': ratio('time_share'),
    'dense MACs / MACs': ratio('ideal', 2),
    'speed-up': ratio('speed_up', 2),
    'efficiency': ratio('efficiency', 2),
}


def figures_table(title: str, figures: Mapping[str, Mapping[str, Any]], dense: str | None) -> Table:
    """One column per network, one row per figure; ratios where there is a dense network."""
    table = Table(title=title, title_justify='left')
    table.add_column('')
    for name in figures:
        table.add_column(f'{name} (dense)' if name == dense else name, justify='right')
    for label, cell in ROWS.items():
        table.add_row(label, *(cell(f) for f in figures.values()))
    if dense is not None:
        table.add_section()
        for label, cell in RATIO_ROWS.items():
            table.add_row(label, *(cell(f) for f in figures.values()))
    return table


def module_table(title: str, modules: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per module, children under their parent, which holds what they cost; shares of the whole beside."""
    table = Table(title=title, title_justify='left')
    table.add_column('module')
    table.add_column('type')
    for heading in ('parameters', '%', 'MACs (G)', '%', 'activations (M)', '%', 'convolutions'):
        table.add_column(heading, justify='right')
    for path, row in modules.items():
        name = '  ' * (path.count('.') + 1) + path.rpartition('.')[2] if path else 'whole network'
        table.add_row(name, row['type'], f'{row["params"]:,}', percent(row, 'params'), number(row['macs'], 3, 1e9),
                      percent(row, 'macs'), number(row['activations'], 3, 1e6), percent(row, 'activations'),
                      f'{row["convolutions"]:,.6g}')
    return table


def operator_table(title: str, operators: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per operator, the costliest first; below them those without MACs, with the reason."""
    table = Table(title=title, title_justify='left')
    table.add_column('operator')
    for heading in ('calls', 'MACs (G)', '%', 'activations (M)', '%'):
        table.add_column(heading, justify='right')
    table.add_column('counts nothing, because')
    for name, row in operators.items():
        table.add_row(name.removeprefix('aten::'), f'{row["calls"]:,.6g}', number(row['macs'], 3, 1e9),
                      percent(row, 'macs'), number(row['activations'], 3, 1e6), percent(row, 'activations'),
                      row.get('why', ''))
    return table


def compare_table(title: str, comparison: Mapping[str, Any]) -> Table:
    """One row per kind of operator, one column per counter, and why they differ."""
    table = Table(title=title, title_justify='left', caption_justify='left')
    table.add_column('MACs (G) of')
    for name in comparison['totals']:
        table.add_column(name, justify='right')
    table.add_column('differs because')
    for kind, row in comparison['kinds'].items():
        table.add_row(kind, *(number(macs, 6, 1e9) for macs in row['macs'].values()),
                      '\n'.join(f'{name}: {why}' for name, why in row['why'].items()))
    table.add_section()
    table.add_row('all', *(number(macs, 6, 1e9) for macs in comparison['totals'].values()), '')
    return table


def percent(row: Mapping[str, Any], key: str) -> str:
    """A share of the whole in per cent."""
    return f'{100 * row["share"][key]:.1f}'


def uncounted_line(figures: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Operators that are in no MAC figure: how often, elements written, and why; None where there are none.

    Of several networks the one that wrote most speaks for an operator.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for network in figures.values():
        for op, entry in network['uncounted'].items():
            if op not in found or entry['elements'] > found[op]['elements']:
                found[op] = entry
    listed = '; '.join(f'{op.removeprefix("aten::")} ({entry["calls"]:,.6g} calls, {entry["elements"]:,.0f} elements; '
                       f'{entry["why"]})' for op, entry in sorted(found.items()))
    return f'Not counted in MACs: {listed}' if found else None
