"""PSNR of a trained MGA network: B, coarse images, D, A, M, and the selection orders of the paper's table 7.

    python -m benchmarks.mga_psnr --backbone RFDN --base RFDN_x4 --dense net_g_step1_D.pth \
        --selecting net_g_latest.pth --sets Set5/HR Set14/HR BSD100/HR --json mga_rfdn_x4.json

`--dense` are the weights that step D left, `--selecting` those of step M, which are A's with a trained mask. B is
trained by itself in the paper: `--alone` are the weights of a step B, `--base` those of the plain network that come
with the project. Where there is neither, the coarse images stand for it: those of D and of A, whose base net was
trained along with the refine net.

PSNR in dB on the Y channel and on RGB, of 8-bit images, border of the scale left out, LR images by MATLAB's bicubic. M
is put together from the coarse image and from A's, of which it consists; random is the mean of five seeds.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from basicsr_amsr.backbones.checkpoint import load_into
from basicsr_amsr.data.bicubic_paired_image_dataset import BicubicPairedImageDataset
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import variant_of
from basicsr_amsr.weights.pretrained import load_pretrained

from basicsr.metrics import calculate_psnr  # isort: skip  # after basicsr_amsr, which mends it
from basicsr.utils import tensor2img  # isort: skip

KEEPS = (0.125, 0.25, 0.5)
ORDERS = ('larger', 'random', 'smaller', 'oracle')
SEEDS = 5
CHANNELS = ('y', 'rgb')
Image = tuple[torch.Tensor, torch.Tensor]
Figures = dict[str, dict[str, float]]


def method(amount: float, order: str = 'larger') -> str:
    """The name of M with an amount of patches, in an order."""
    return f'M {amount:g}' if order == 'larger' else f'M {amount:g} {order}'


def load(backbone: str, scale: int, patch_size: int, weights: str) -> Any:
    """The MGA network with the weights of a step."""
    return load_into(MGA({'type': backbone, 'upscale': scale}, patch_size=patch_size), weights).eval()


def pixels(net: Any, active: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """(1, 1, h, w) bool of patches as (1, 1, H, W) of the pixels of an image of `shape`."""
    size = net.scale * net.patch_size
    return active.repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :shape[-2], :shape[-1]]


def selected(net: Any, feature: torch.Tensor, coarse: torch.Tensor, refined: torch.Tensor, amount: int | float,
             order: str, seed: int = 0) -> torch.Tensor:
    """The image of M, from the coarse image and the one with all patches refined."""
    net.k, net.order, net.seed = amount, order, seed
    index = net.select(feature, net.ranked_by(coarse, refined))
    active = torch.zeros(1, 1, *(-(-side // net.patch_size) for side in feature.shape[-2:]), dtype=torch.bool)
    active[index.batch, 0, index.row, index.col] = True
    return torch.where(pixels(net, active, coarse.shape), refined, coarse)


def base_images(net: Any, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """What the base net of a step B gives."""
    yield 'B, trained by itself', variant_of(net, 'B')(x)


def dense_images(net: Any, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """What the network of step D gives."""
    parts = variant_of(net, 'D')(x, with_parts=True)
    yield from (('coarse of D', parts.coarse), ('D', parts.image))


def selecting_images(net: Any, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """What the network of steps A and M gives; an image of each seed of the random order, under one name."""
    parts = variant_of(net, 'A')(x, with_parts=True)
    yield from (('coarse of A', parts.coarse), ('A', parts.image))
    view = variant_of(net, 'M')
    for amount in KEEPS:
        for order in ORDERS:
            for seed in range(SEEDS if order == 'random' else 1):
                image = selected(view, parts.feature, parts.coarse, parts.image, amount, order, seed)
                yield method(amount, order), image


def pairs(folder: str, scale: int) -> Iterator[Image]:
    """LR and HR images (1, 3, H, W) of a folder of HR images."""
    dataset = BicubicPairedImageDataset({'name': 'test', 'phase': 'test', 'scale': scale, 'dataroot_gt': folder})
    for item in (dataset[index] for index in range(len(dataset))):
        yield item['lq'][None], item['gt'][None]


def psnr(image: torch.Tensor, target: np.ndarray, border: int) -> dict[str, float]:
    """PSNR of an image (1, 3, H, W) in 0–1 to an 8-bit BGR image."""
    bgr = tensor2img([image])
    return {channel: float(calculate_psnr(bgr, target, border, test_y_channel=channel == 'y')) for channel in CHANNELS}


@torch.no_grad()
def test(images: Sequence[Callable[[torch.Tensor], Iterator[tuple[str, torch.Tensor]]]], folder: str,
         scale: int) -> Figures:
    """Mean PSNR over a set of each image that the functions make of an LR image, by name."""
    found: dict[str, dict[str, list[float]]] = {}
    for x, target in pairs(folder, scale):
        truth = tensor2img([target])
        for name, image in (named for make in images for named in make(x)):
            for channel, value in psnr(image, truth, scale).items():
                found.setdefault(name, {key: [] for key in CHANNELS})[channel].append(value)
    return {name: {channel: fmean(values) for channel, values in channels.items()} for name, channels in found.items()}


def markdown(results: Mapping[str, Figures]) -> str:
    """Two tables, PSNR on Y / RGB: the variants, and the orders of table 7."""
    names = list(next(iter(results.values())))
    ordered = [method(keep, order) for keep in KEEPS for order in ORDERS]
    plain = [name for name in names if name not in ordered or name in map(method, KEEPS)]
    tables = []
    for rows in (plain, ordered):
        lines = [f"| PSNR Y / RGB (dB) | {' | '.join(results)} |", '|---' * (len(results) + 1) + '|']
        for name in rows:
            cells = (f"{figures[name]['y']:.3f} / {figures[name]['rgb']:.3f}" for figures in results.values())
            lines.append(f"| {name} | {' | '.join(cells)} |")
        tables.append('\n'.join(lines))
    return '\n\n'.join(tables)


def set_name(folder: str) -> str:
    """'Set5' of benchmark/Set5/HR."""
    path = Path(folder)
    return path.parent.name if path.name in ('HR', 'GTmod12') else path.name


def main(argv: Sequence[str] | None = None) -> None:
    """Test, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--backbone', required=True, help='FSRCNN, RFDN, …')
    parser.add_argument('--scale', type=int, default=4)
    parser.add_argument('--patch-size', type=int, default=4, help='p, side of a patch in LR pixels')
    parser.add_argument('--dense', metavar='FILE', help='weights of step D')
    parser.add_argument('--selecting', metavar='FILE', required=True, help='weights of step A or M')
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument('--base', metavar='NAME', help='weights of the plain network, to stand as B')
    alone.add_argument('--alone', metavar='FILE', help='weights of a step B, the base net trained by itself')
    parser.add_argument('--sets', nargs='+', required=True, metavar='DIR', help='folders of HR images')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args(argv)

    nets: list[Callable[[torch.Tensor], Iterator[tuple[str, torch.Tensor]]]] = []
    if args.base:
        plain = load_pretrained(args.base, type=args.backbone, upscale=args.scale)
        nets.append(lambda x: iter([('B, trained by itself', plain(x))]))
    for weights, make in ((args.alone, base_images), (args.dense, dense_images), (args.selecting, selecting_images)):
        if weights:
            net = load(args.backbone, args.scale, args.patch_size, weights)
            nets.append(lambda x, net=net, make=make: make(net, x))  # type: ignore[misc]
    results: dict[str, Figures] = {}
    for folder in args.sets:
        results[set_name(folder)] = test(nets, folder, args.scale)
        print(f'{set_name(folder)} done', flush=True)
        if args.json:
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
            Path(args.json).write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    print(markdown(results))


if __name__ == '__main__':
    main()
