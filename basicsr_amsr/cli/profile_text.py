"""What `basicsr profile` prints and writes."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from basicsr_amsr.cli.metrics_report import show, write_json
from basicsr_amsr.files import save_whole
from basicsr_amsr.profiling.active_share import active_pixels
from basicsr_amsr.profiling.figures_table import (
    compare_table,
    figures_table,
    module_table,
    operator_table,
    uncounted_line,
)
from basicsr_amsr.profiling.page import page
from basicsr_amsr.profiling.per_image import sizes_line
from basicsr_amsr.profiling.profile_picture import draw

Figures = dict[str, dict[str, Any]]
DRAWINGS = ('.html', '.png')


def describe(network: dict[str, Any]) -> str:
    """'MGA RCAN x4' of a `network_g:`."""
    backbone = network.get('backbone') or {}
    scale = {**network, **backbone}.get('upscale')
    return ' '.join(filter(None, [network['type'], backbone.get('type'), f'x{scale}' if scale else None]))


def heading(report: Mapping[str, Any], figures: Figures) -> str:
    """What was profiled."""
    images = next(iter(figures.values())).get('images')
    return f'{report["network"]}, ' + (f'{len(images)} images' if images else 'input {}x{}'.format(*report['size']))


def notes(report: Mapping[str, Any], figures: Figures) -> list[str]:
    """Lines on what it was measured on, and on what is not in it."""
    images = next(iter(figures.values())).get('images')
    layout = 'channels last' if report['channels_last'] else 'contiguous'
    times = [f['latency_ms']['samples'] for f in figures.values() if f['latency_ms']]
    rounds = f', {times[0]:g} rounds in turn' + (' per image' if images else '') if times else ''
    source = f'images: {report["image"]}, {sizes_line(images)}' if images else f'image: {report["image"]}'
    line = uncounted_line(figures)
    return [f'{report["device"]} ({report["device_name"]}), {report["dtype"]}, {layout}, {report["threads"]} threads, '
            f'torch {report["torch"]}{rounds}', f'weights: {report["weights"]}; {source}', *([line] if line else [])]


def print_report(report: Mapping[str, Any], figures: Figures, dense: str | None) -> None:
    """The table, what it was measured on, and what is not in it."""
    alone = [] if dense else ['It selects nothing, so there is no dense network to compare it with.']
    show(figures_table(heading(report, figures), figures, dense), *alone, *notes(report, figures))


def print_breakdown(by: str | None, figures: Figures) -> None:
    """Tables per network: its modules or operators, and what other counters say."""
    for name, network in figures.items():
        if by:
            draw = module_table if by == 'module' else operator_table
            show(draw(f'{name} by {by}', network[f'by_{by}']))
        if 'compare' in network:
            show(compare_table(f'{name} by other counters', network['compare']))


def write_report(path: str, report: Mapping[str, Any], figures: Figures, dense: str | None) -> None:
    """JSON: the first network's figures at the top, the dense one's under `dense`, all of them under `variants`."""
    first = next(iter(figures))
    value = {**report, 'variant': first if dense else None, **figures[first]}
    if dense is not None:
        value.update(dense={'variant': dense, **figures[dense]}, variants=figures)
    write_json(Path(path), value)


def write_drawing(path: str, report: Mapping[str, Any], figures: Figures, dense: str | None,
                  nets: Mapping[str, nn.Module], x: torch.Tensor, image: str) -> None:
    """The picture of the profile, alone as .png or in a page with the tables as .html; masks are those of `x`."""
    masks = {name: mask.numpy() for name, mask in ((name, active_pixels(net, x)) for name, net in nets.items())
             if mask is not None and not mask.all()}
    pixels = x[0].float().cpu().permute(1, 2, 0).expand(-1, -1, 3).numpy()
    title = heading(report, figures)
    picture = draw(f'{title}\nmasks: {image}' if masks else title, figures, dense, pixels, masks)
    if path.lower().endswith('.html'):
        save_whole(path, page(title, notes(report, figures), figures, dense, picture).encode())
    else:
        save_whole(path, picture)
