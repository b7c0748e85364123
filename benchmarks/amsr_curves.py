"""Quality against counted MACs and against time of accelerated networks that were not trained for it.

    python benchmarks/amsr_curves.py --weights RFDN_x4 --fit cid22_512 --images Set14/HR BSD100/HR --out rfdn_x4.jsonl
    python benchmarks/amsr_curves.py --weights PAN_x2.pth --network type=PAN upscale=2 --fit … --images … --out …
    python benchmarks/amsr_curves.py --table rfdn_x4.jsonl --plot rfdn_x4.png

Each point is a form at a share of active tiles: `pixels` and `tiles` are units whose skipped pixels keep their input;
`calibrated` predicts them (docs/amsr.md); `fewer units` is the honest rival: every pixel is computed, but the last
units are each replaced by a 1×1 convolution, fitted to the same images one after the other. PSNR is on Y with a border
of the scale, MACs are those of the whole network with predictions and light tail, counted on the first ten images of a
set; time is that of the process (one thread), the dense network's measured beside each image's. Points that the file
has are not measured again.
"""
from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr import load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.execution.counter import ConvolutionCounter
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

from basicsr.metrics import calculate_psnr  # isort: skip  # after basicsr_amsr, which mends it
from basicsr.utils import img2tensor, tensor2img  # isort: skip

Pair = tuple[torch.Tensor, np.ndarray]
COUNTED = 10
# Lists of units that follow one another and keep the shape of what they get.
UNITS = {'RFDN': 'body.blocks', 'PAN': 'body', 'CARN_M': 'body.units.0.units body.units.1.units body.units.2.units'}


def pairs(folder: str, scale: int, first: int | None) -> list[Pair]:
    """LR images, and HR images cropped to multiples of the scale."""
    found = []
    for path in list_images(folder)[:first]:
        high = read_image(path)
        high = high[:high.shape[0] // scale * scale, :high.shape[1] // scale * scale]
        found.append((img2tensor(to_float(downscale(high, scale)), bgr2rgb=True)[None].contiguous(
            memory_format=torch.channels_last), high))
    return found


def run(net: nn.Module, low: torch.Tensor, counted: bool) -> tuple[np.ndarray, float, int | None]:
    """Image, CPU seconds and MACs."""
    with torch.no_grad():
        start = time.process_time()
        result = net(low)
        seconds = time.process_time() - start
        with ConvolutionCounter() as counter:
            if counted:
                net(low)
    return tensor2img(result), seconds, counter.macs if counted else None


def evaluate(net: nn.Module, dense: nn.Module, sets: dict[str, list[Pair]], scale: int) -> dict[str, Any]:
    """Means over each set: PSNR in dB and against dense, MACs and time as shares of dense."""
    found = {}
    for name, images in sets.items():
        rows, shares = [], []
        for number, (low, high) in enumerate(images):
            image, seconds, macs = run(net, low, number < COUNTED)
            reference, dense_seconds, dense_macs = run(dense, low, number < COUNTED)
            psnr, best = (calculate_psnr(each, high, crop_border=scale, test_y_channel=True)
                          for each in (image, reference))
            rows.append((psnr, psnr - best, seconds, dense_seconds))
            if macs is not None and dense_macs is not None:
                shares.append(macs / dense_macs)
        mean = [float(value) for value in np.mean(rows, 0)]
        found[name] = {'psnr': mean[0], 'loss': mean[1], 'macs': float(np.mean(shares)), 'time': mean[2] / mean[3]}
    return found


class Fitted(nn.Module):
    """Stands for a unit: a 1×1 convolution fitted to what the dense network has behind it."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight[:, :-1, None, None].float(), weight[:, -1].float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias)


def without_units(net: nn.Module, family: str, count: int, images: Sequence[torch.Tensor]) -> nn.Module:
    """The network, in place, whose last `count` units are fitted 1×1 convolutions."""
    places = [f'{path}.{key}' for path in UNITS[family].split() for key, _ in net.get_submodule(path).named_children()]
    for place in places[-count:]:
        parent, _, key = place.rpartition('.')
        original = net.get_submodule(place)
        gram: Any = 0
        cross: Any = 0
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        handle = original.register_forward_hook(lambda m, args, out, seen=seen: seen.append((args[0], out)))
        for image in images:
            with torch.no_grad():
                net(image)
            for x, y in seen:
                rows = torch.cat([x[0].flatten(1), torch.ones(1, x[0, 0].numel())]).double()
                gram, cross = gram + rows @ rows.T, cross + rows @ y[0].flatten(1).T.double()
            seen.clear()
        handle.remove()
        ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram)).double()
        setattr(net.get_submodule(parent), key, Fitted(torch.linalg.solve(gram + ridge, cross).T))
    return net


def points(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The forms to measure."""
    for ratio in args.ratios:
        if 'pixels' in args.forms:
            yield {'form': 'pixels', 'ratio': ratio, 'tile': 1, 'smooth': 1}
        if 'tiles' in args.forms:
            yield {'form': 'tiles', 'ratio': ratio, 'tile': 8, 'smooth': 5}
        if 'calibrated' in args.forms:
            yield from ({'form': 'calibrated', 'ratio': ratio, 'tile': tile, 'smooth': args.smooth}
                        for tile in args.tiles)
    if 'fewer' in args.forms:
        yield from ({'form': 'fewer units', 'count': count} for count in args.fewer)


def convert(net: nn.Module, family: str, point: dict[str, Any], images: Sequence[torch.Tensor]) -> nn.Module:
    """A network in the form of a point, in place."""
    if point['form'] == 'fewer units':
        return without_units(net, family, point['count'], images)
    selection = HighFrequencyMask(ratio=point['ratio'], tile=point['tile'], smooth=point['smooth'])
    calibration = calibrate(net, selection, images) if point['form'] == 'calibrated' else None
    accelerate_(net, AMSRConfig(selection=selection, calibration=calibration, mode='sparse'))
    return net


def measure(args: argparse.Namespace) -> None:
    """Append what is missing to the file."""
    options = {key: yaml.safe_load(value) for key, value in (item.split('=') for item in args.network)}

    def load() -> nn.Module:
        return load_pretrained(args.weights, **options).to(memory_format=torch.channels_last)

    dense = load()
    family = type(dense).__name__
    with torch.no_grad():
        scale = dense(torch.zeros(1, 3, 8, 8)).shape[-1] // 8
    sets = {Path(folder).parent.name if Path(folder).name == 'HR' else Path(folder).name:
            pairs(folder, scale, args.first) for folder in args.images}
    fitted = [low for low, _ in pairs(args.fit, scale, args.fit_images)]
    out = Path(args.out)
    known = [json.loads(line)['point'] for line in out.read_text().splitlines()] if out.exists() else []
    for point in points(args):
        named = {**point, 'sets': {name: len(images) for name, images in sets.items()}}
        if named in known:
            continue
        found = evaluate(convert(load(), family, point, fitted), restore_(dense), sets, scale)
        with out.open('a') as file:
            file.write(json.dumps({'network': f'{family} x{scale}', 'point': named, 'found': found}) + '\n')
        print(json.dumps(point), {name: {k: round(v, 3) for k, v in each.items()} for name, each in found.items()},
              flush=True)


def show(file: str, plot: str | None) -> None:
    """Print a table, and draw loss against MACs and against time."""
    lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
    table = Table(title=lines[0]['network'])
    for name in ('form', 'active', 'tile', *(f'{name}: dB, MACs, time' for name in lines[0]['found'])):
        table.add_column(name)
    for line in lines:
        point = line['point']
        table.add_row(point['form'], str(point.get('ratio', f'-{point.get("count")}')), str(point.get('tile', '')),
                      *(f'{each["loss"]:+.3f}, {each["macs"]:.3f}, {each["time"]:.2f}'
                        for each in line['found'].values()))
    Console(width=140).print(table)
    if plot:
        draw(lines, plot)


def draw(lines: Sequence[dict[str, Any]], plot: str) -> None:
    """One row for each set: loss against MACs, and against time."""
    mpl.use('Agg')
    import matplotlib.pyplot as plt

    names = list(lines[0]['found'])
    _, axes = plt.subplots(len(names), 2, figsize=(11, 4 * len(names)), squeeze=False)
    curves: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        point = line['point']
        form = point['form'] + (f' {point["tile"]}x{point["tile"]}' if point['form'] == 'calibrated' else '')
        curves.setdefault(form, []).append(line['found'])
    for row, name in zip(axes, names, strict=True):
        for axis, what in zip(row, ('macs', 'time'), strict=True):
            for form, found in curves.items():
                dots = sorted((each[name][what], each[name]['loss']) for each in found if name in each)
                axis.plot(*zip(*dots, strict=True), marker='o', markersize=3, label=form)
            axis.set(xlabel='MACs / dense' if what == 'macs' else 'time / dense (CPU, one thread)',
                     ylabel='PSNR against dense, dB', title=f'{lines[0]["network"]}, {name}', ylim=(-0.6, 0.02))
            axis.axhline(-0.05, color='gray', linewidth=0.5)
            axis.legend(fontsize=7)
    plt.tight_layout()
    plt.savefig(plot, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, or show what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', help='of load_pretrained: a name, or a file')
    parser.add_argument('--network', nargs='*', default=[], metavar='KEY=VALUE', help='its options: type=PAN upscale=4')
    parser.add_argument('--fit', help='a folder of HR images to calibrate on')
    parser.add_argument('--fit-images', type=int, default=30, help='how many of them')
    parser.add_argument('--images', nargs='+', help='folders of HR images')
    parser.add_argument('--first', type=int, help='only so many of each')
    parser.add_argument('--forms', nargs='+', choices=['pixels', 'tiles', 'calibrated', 'fewer'],
                        default=['pixels', 'tiles', 'calibrated', 'fewer'])
    parser.add_argument('--ratios', type=float, nargs='+', default=[0.9, 0.75, 0.6, 0.5])
    parser.add_argument('--tiles', type=int, nargs='+', default=[4, 8, 16])
    parser.add_argument('--smooth', type=int, default=7)
    parser.add_argument('--fewer', type=int, nargs='+', default=[1, 2, 4])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--out', default='curves.jsonl')
    parser.add_argument('--table', help='only show this file')
    parser.add_argument('--plot', help='and draw it')
    args = parser.parse_args(argv)
    if args.table:
        show(args.table, args.plot)
    else:
        torch.set_num_threads(args.threads)
        measure(args)


if __name__ == '__main__':
    cv2.setNumThreads(1)
    main()
