"""A profile as a picture: mask over image, MACs by module, and the comparison with the dense network."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from basicsr_amsr.drawing import COLOURS, as_png, new_figure

Figures = Mapping[str, Mapping[str, Any]]
DARKENED = 0.3
MOST = 20  # modules with a bar of their own
ACROSS = 4  # images in a row


def draw(title: str, figures: Figures, dense: str | None, image: np.ndarray, masks: Mapping[str, np.ndarray]) -> bytes:
    """PNG of a profile.

    Args:
        title: what was profiled.
        figures: those of `profile_networks`. dense: which network is the dense one.
        image: LR image (H, W, 3) in 0–1.
        masks: network to what it computes, (H, W) bool.
    """
    modules = module_macs(figures)
    rows = math.ceil((1 + len(masks)) / ACROSS)
    heights = [3.2 * rows, 1.0 + 0.14 * len(modules) * (len(figures) + 1)] + [2.6] * (dense is not None)
    figure = new_figure(13, sum(heights) + 0.4)
    figure.suptitle(title)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    colours = dict(zip(figures, COLOURS * len(figures), strict=False))
    _masks(parts[0].subplots(rows, min(ACROSS, 1 + len(masks)), squeeze=False).flatten(), image, masks, figures)
    _modules(parts[1].subplots(), modules, colours)
    if dense is not None:
        _ratios(parts[2].subplots(), figures, dense, colours)
    return as_png(figure)


def module_macs(figures: Figures) -> dict[str, dict[str, float]]:
    """MACs of each network by module: the lowest modules of the break-down, `MOST` of them and the rest as one.

    What a module computes outside its children stands under its own name.
    """
    found: dict[str, dict[str, float]] = {}
    for name, network in figures.items():
        for path, own in own_macs(network['by_module']).items():
            found.setdefault(path, dict.fromkeys(figures, 0.0))[name] = own
    found = {path: macs for path, macs in found.items() if any(round(own) for own in macs.values())}
    largest = set(sorted(found, key=lambda path: -max(found[path].values()))[:MOST])
    shown = {path or 'outside modules': macs for path, macs in found.items() if path in largest}
    rest = [macs for path, macs in found.items() if path not in largest]
    if rest:
        shown[f'{len(rest)} others'] = {name: sum(macs[name] for macs in rest) for name in figures}
    return shown


def own_macs(modules: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """MACs of each module less those of its children, of a break-down."""
    own = {path: row['macs'] for path, row in modules.items()}
    for path, row in modules.items():
        if path:
            own[path.rpartition('.')[0]] -= row['macs']
    return own


def _masks(panels: Any, image: np.ndarray, masks: Mapping[str, np.ndarray], figures: Figures) -> None:
    shown = {f'input {image.shape[0]}x{image.shape[1]}': image}
    for name, mask in masks.items():
        shown[f'{name}: {mask.mean():.1%} of the pixels'] = image * np.where(mask, 1.0, DARKENED)[..., None]
    for panel in panels:
        panel.set_axis_off()
    for panel, (title, picture) in zip(panels, shown.items(), strict=False):
        panel.imshow(picture.clip(0, 1), interpolation='nearest')
        panel.set_title(title, fontsize='medium')


def _modules(panel: Any, modules: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]) -> None:
    height = 0.8 / len(colours)
    for number, (name, colour) in enumerate(colours.items()):
        at = [row + (number - (len(colours) - 1) / 2) * height for row in range(len(modules))]
        panel.barh(at, [macs[name] / 1e9 for macs in modules.values()], height, color=colour, label=name)
    panel.set_yticks(range(len(modules)), list(modules), fontsize='small')
    panel.invert_yaxis()
    panel.set(title='by module', xlabel='MACs (G)')
    panel.legend()


def _ratios(panel: Any, figures: Figures, dense: str, colours: Mapping[str, str]) -> None:
    labels = {'params': 'parameters', 'macs': 'MACs', 'time_share': 'time', 'peak_memory': 'peak memory'}
    labels = {key: label for key, label in labels.items() if figures[dense]['ratios'][key] is not None}
    width = 0.8 / len(colours)
    for number, (name, colour) in enumerate(colours.items()):
        at = [place + (number - (len(colours) - 1) / 2) * width for place in range(len(labels))]
        bars = panel.bar(at, [figures[name]['ratios'][key] for key in labels], width, color=colour,
                         label=_summary(name, figures[name]['ratios']))
        panel.bar_label(bars, fmt='%.2f', fontsize='x-small')
    panel.axhline(1, color='#909090', linewidth=0.8)
    panel.set_xticks(range(len(labels)), list(labels.values()))
    panel.margins(y=0.15)
    panel.set(title=f'compared with {dense} (dense)', ylabel='share')
    panel.legend(fontsize='small', loc='center left', bbox_to_anchor=(1, 0.5))


def _summary(name: str, ratios: Mapping[str, Any]) -> str:
    named = {'speed-up': ratios['speed_up'], 'ideal': ratios['ideal'], 'efficiency': ratios['efficiency']}
    return '\n'.join([name, *(f'{key} {value:.2f}' for key, value in named.items() if value is not None)])
