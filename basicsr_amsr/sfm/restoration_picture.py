"""The frequency picture: power by spatial frequency under each degradation, and PSNR over the levels."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr_amsr.drawing import COLOURS, as_png, new_figure
from basicsr_amsr.files import save_whole
from basicsr_amsr.sfm.conditions import LABELS
from basicsr_amsr.sfm.restoration import INPUT, REFERENCE

COLUMNS = 3
SKIPPED = 3  # bands around DC, whose power would squeeze the others
GREEN, PINK = '#2e9a2e', '#ffb6c1'  # of areas


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a report of `restore` as a PNG.

    A panel for each condition has the ground truth and what is left of it before downscaling as areas, and the restored
    images as lines; one for each kind of condition with several levels has the PSNR.
    """
    conditions = report['conditions']
    curves = _curves(conditions)
    count = len(conditions) + len(curves)
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = new_figure(5 * columns, 3.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, condition in zip(panels, conditions, strict=False):
        _spectrum(panel, report['frequencies'], condition)
    for panel, (kind, chosen) in zip(panels[len(conditions):], curves.items(), strict=False):
        _psnr(panel, kind, chosen)
    for panel in panels[count:]:
        panel.set_visible(False)
    save_whole(path, as_png(figure, 120))


def _curves(conditions: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Conditions by kind, where a kind has several levels."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for condition in conditions:
        if condition['level'] is not None:
            kinds.setdefault(condition['kind'], []).append(condition)
    return {kind: sorted(found, key=lambda one: one['level']) for kind, found in kinds.items() if len(found) > 1}


def _spectrum(panel: Any, frequencies: Sequence[float], condition: Mapping[str, Any]) -> None:
    power = condition['power']
    below = min(value for values in power.values() for value in values if value > 0)
    areas = [(REFERENCE, GREEN), (INPUT, PINK)]
    areas.sort(key=lambda area: -sum(value for value in power[area[0]] if value > 0))  # the smaller one in front
    for label, colour in areas:
        panel.fill_between(frequencies, power[label], below, color=colour, linewidth=0,
                           label='filtered' if label == INPUT and condition['blurred'] else label)
    panel.plot(frequencies, power[REFERENCE], color=GREEN, linewidth=1)  # where noise hides the area
    for label, colour in zip([label for label in power if label not in (REFERENCE, INPUT)], _cycle(), strict=False):
        panel.plot(frequencies, power[label], color=colour, linewidth=1.3, label=label)
    panel.set(yscale='log', xlim=(0, 0.5), title=condition['name'])
    panel.set(xlabel='cycles per pixel', ylabel='power per coefficient')
    above = max(value for values in power.values() for value in values[SKIPPED:] or values)
    panel.set_ylim(max(below, 1e-2), 2 * above)
    panel.legend(fontsize='small')


def _psnr(panel: Any, kind: str, conditions: Sequence[Mapping[str, Any]]) -> None:
    levels = [condition['level'] for condition in conditions]
    for label, colour in zip(conditions[0]['psnr'], ['#909090', *_cycle()], strict=False):
        panel.plot(levels, [condition['psnr'][label] for condition in conditions], 'o-', color=colour, markersize=3,
                   label=label)
    panel.set(title='PSNR', xlabel=LABELS[kind], ylabel='dB')
    panel.grid(alpha=0.3)
    panel.legend(fontsize='small')


def _cycle() -> list[str]:
    return [colour for colour in COLOURS if colour != GREEN] * 8
