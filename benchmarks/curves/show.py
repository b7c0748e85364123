"""Tables and pictures of what was measured."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.curves.means import Mean, Means
from benchmarks.curves.points import CALIBRATED, Point

LIMIT = -0.05  # dB, the goal
LOSSES = (0.02, 0.05, 0.1)  # dB, at which forms are compared


def show(title: str, found: Means) -> None:
    """Print a table, one column for each set."""
    table = Table('form', 'active', 'patch_size', title=title)
    for name, each in found.items():
        table.add_column(f'{name} ({max(mean.images for mean in each.values())}): dB, MACs, time')
    for point in dict.fromkeys(point for each in found.values() for point in each):
        cells = [each.get(point) for each in found.values()]
        table.add_row(point.form, f'-{point.count}' if point.count else f'{point.keep:g}',
                      '' if point.count else str(point.patch_size),
                      *(_cell(mean) if mean else '' for mean in cells))
    Console(width=140).print(table)


def _cell(mean: Mean) -> str:
    return f'{mean.loss:+.3f}, {mean.macs:.3f}' + ('' if mean.time is None else f', {mean.time:.2f}')


def times_at(dots: Sequence[Mean], losses: Sequence[float]) -> list[float | None]:
    """Time / dense at which a form loses that much, dB, on the lines between its points, the dense network before the
    first; None beyond the last whose time is known."""
    steps = sorted([(0.0, 1.0), *((max(-mean.loss, 0.0), mean.time) for mean in dots if mean.time is not None)])
    lost, times = zip(*steps, strict=True)
    return [float(np.interp(loss, lost, times)) if loss <= lost[-1] else None for loss in losses]


def compare(title: str, found: Means) -> None:
    """Print the time of each form at equal PSNR."""
    table = Table('form', title=f'{title}: time / dense at the same loss')
    rows: dict[str, list[str]] = {}
    for number, (name, each) in enumerate(found.items()):
        table.add_column(f'{name}, {", ".join(f"{loss:g}" for loss in LOSSES)} dB')
        for form, dots in forms_of(each).items():
            cells = rows.setdefault(form, [''] * len(found))
            cells[number] = ', '.join('-' if time is None else f'{time:.2f}' for time in times_at(dots, LOSSES))
    for form, cells in rows.items():
        table.add_row(form, *cells)
    Console(width=140).print(table)


def forms_of(found: Mapping[Point, Mean]) -> dict[str, list[Mean]]:
    """The points of each form, of calibrated ones with each size of patches."""
    forms: dict[str, list[Mean]] = {}
    for point, mean in found.items():
        name = point.form + (f' {point.patch_size}x{point.patch_size}' if point.form in CALIBRATED else '')
        forms.setdefault(name, []).append(mean)
    return forms


def draw(curves: Mapping[str, Means], file: str) -> None:
    """One row for each network, one column for each set: loss against MACs."""
    mpl.use('Agg')
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for found in curves.values() for name in found))
    forms = sorted({form for found in curves.values() for points in found.values() for form in forms_of(points)})
    colors = {form: f'C{number}' for number, form in enumerate(forms)}
    figure, axes = plt.subplots(len(curves), len(names), figsize=(5 * len(names), 3.6 * len(curves)), squeeze=False)
    for row, (network, found) in zip(axes, curves.items(), strict=True):
        for axis, name in zip(row, names, strict=True):
            if name not in found:
                axis.axis('off')
                continue
            for form, dots in forms_of(found[name]).items():
                dots.sort(key=lambda mean: mean.macs)
                axis.plot([mean.macs for mean in dots], [mean.loss for mean in dots], marker='o', markersize=3,
                          color=colors[form])
            axis.set(xlabel='MACs / dense', ylabel='PSNR against dense, dB', title=f'{network}, {name}',
                     xlim=(0.4, 1), ylim=(-0.5, 0.02))
            axis.axhline(LIMIT, color='gray', linewidth=0.5)
    figure.legend([plt.Line2D([], [], color=color, marker='o') for color in colors.values()], forms, ncols=4,
                  loc='upper center')
    plt.tight_layout(rect=(0, 0, 1, 1 - 0.6 / figure.get_figheight()))
    plt.savefig(file, dpi=90)
