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
    'mask ratio': lambda f: number(f['mask_ratio'], 3),
    'latency (ms)': lambda f: latency(f, 'median'),
    'quartiles (ms)': lambda f: latency(f, 'q1', 'q3'),
    'peak memory (MiB)': lambda f: number(f['peak_memory_mb'], 1),
}
RATIO_ROWS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    'MACs / dense': ratio('macs'),
    'time / dense': ratio('time'),
    'ideal speed-up': ratio('ideal', 2),
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


def uncounted_line(figures: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Operators that are in no MAC figure, with the elements they wrote; None where there are none."""
    found: dict[str, int] = {}
    for network in figures.values():
        for op, elements in network['uncounted'].items():
            found[op] = max(elements, found.get(op, 0))
    listed = ', '.join(f'{op.removeprefix("aten::")} ({elements:,} elements)' for op, elements in sorted(found.items()))
    return f'Not counted in MACs: {listed}' if found else None
