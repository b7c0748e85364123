"""metrics.json, and the table of it."""
from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from basicsr_amsr.files import save_whole


def jsonable(value: Any) -> Any:
    """`value` with floats that JSON lacks as the strings 'Infinity', '-Infinity' and 'NaN' (`float` reads them)."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return 'NaN' if math.isnan(value) else ('Infinity' if value > 0 else '-Infinity')
    return value


def write_json(path: Path, value: Any) -> None:
    """Write the file as a whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    save_whole(path, text.encode(errors='backslashreplace'))  # what is no text of a file's name, as JSON escapes it


def print_json(value: Any) -> None:
    """Print JSON for another program to read."""
    print(json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False))


def metrics_table(name: str, results: Mapping[str, Any]) -> Table:
    """Data sets by metrics: the means, and the number of images and the source of the LR images of each set."""
    metrics = list(dict.fromkeys(metric for entries in results.values() for metric in entries))
    table = Table(title=name, title_justify='left')
    table.add_column('data set')
    table.add_column('images', justify='right')
    for metric in metrics:
        table.add_column(_heading(metric, results), justify='right')
    table.add_column('LR images', overflow='fold')
    for dataset, entries in results.items():
        some = next(iter(entries.values()))
        means = [f'{entries[metric]["mean"]:.4f}' if metric in entries else '' for metric in metrics]
        table.add_row(dataset, str(len(some['images'])), *means, some['computed'].get('lr_source', ''))
    return table


def _heading(metric: str, results: Mapping[str, Any]) -> str:
    """The metric with channel and border, where all data sets have the same."""
    ways = {(entries[metric]['computed'].get('channel'), entries[metric]['computed'].get('crop_border'))
            for entries in results.values() if metric in entries}
    if len(ways) != 1:
        return metric
    channel, border = ways.pop()
    details = ', '.join(filter(None, [channel, None if border is None else f'border {border}']))
    return f'{metric} ({details})' if details else metric


def show(*parts: Any) -> None:
    """Print tables and lines to stdout, as wide as they need to be where it is no terminal."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    for part in parts:
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)
