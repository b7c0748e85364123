"""PSNR and MACs of an accelerated network that was not trained for it, at fixed shares of active tiles.

    python benchmarks/amsr_ratio.py --weights RFDN_x4 --images Set14/HR --ratios 0.75 0.5
    python benchmarks/amsr_ratio.py --weights PAN_x4.pth --network type=PAN upscale=4 --images ...

PSNR is on Y with a border of the scale, MACs are those of the whole network, counted on each image; both are means.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table

from basicsr_amsr import load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.execution.unit import INSIDE
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

from basicsr.metrics import calculate_psnr  # isort: skip  # after basicsr_amsr, which mends it
from basicsr.utils import img2tensor, tensor2img  # isort: skip


def crop(image: np.ndarray, scale: int) -> np.ndarray:
    """The image without the rows and columns that are over a multiple of the scale."""
    return image[:image.shape[0] // scale * scale, :image.shape[1] // scale * scale]


def measure(net: torch.nn.Module, pairs: Sequence[tuple[torch.Tensor, np.ndarray]], scale: int) -> tuple[float, float]:
    """Mean PSNR in dB and mean MACs over (LR image, HR image)."""
    psnr, macs = [], []
    for low, high in pairs:
        with torch.no_grad():
            image = tensor2img(net(low))
        psnr.append(calculate_psnr(image, high, crop_border=scale, test_y_channel=True))
        macs.append(count(net, low).macs)
    return float(np.mean(psnr)), float(np.mean(macs))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', required=True, help="of load_pretrained: a name, or a file")
    parser.add_argument('--network', nargs='*', default=[], metavar='KEY=VALUE', help='its options: type=PAN upscale=4')
    parser.add_argument('--images', required=True, help='a folder of HR images')
    parser.add_argument('--first', type=int, help='only so many of them')
    parser.add_argument('--ratios', type=float, nargs='+', default=[0.75, 0.5, 0.25])
    parser.add_argument('--tile', type=int, nargs='+', default=[8])
    parser.add_argument('--inside', nargs='+', choices=INSIDE, default=list(INSIDE))
    parser.add_argument('--dense-first', type=int, nargs='+', default=[0])
    parser.add_argument('--smooth', type=int, default=5)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    net = load_pretrained(args.weights, **{key: yaml.safe_load(value) for key, value in
                                           (item.split('=') for item in args.network)})
    with torch.no_grad():
        scale = net(torch.zeros(1, 3, 8, 8)).shape[-1] // 8
    images = [crop(read_image(path), scale) for path in list_images(args.images)[:args.first]]
    pairs = [(img2tensor(to_float(downscale(high, scale)), bgr2rgb=True)[None], high) for high in images]
    dense, dense_macs = measure(net, pairs, scale)
    table = Table(title=f'{args.weights} x{scale}, {len(pairs)} images, '
                        f'dense {dense:.3f} dB, {dense_macs / 1e9:.2f} GMAC')
    for name in ('ratio', 'tile', 'inside', 'dense first', 'PSNR', 'against dense', 'MACs / dense'):
        table.add_column(name)
    for ratio in args.ratios:
        for tile in args.tile:
            for inside in args.inside:
                for first in args.dense_first:
                    selection = HighFrequencyMask(ratio=ratio, smooth=args.smooth, tile=tile)
                    accelerate_(net, AMSRConfig(selection, inside, dense_first=first))
                    psnr, macs = measure(net, pairs, scale)
                    table.add_row(f'{ratio}', f'{tile}', inside, f'{first}', f'{psnr:.3f}', f'{psnr - dense:+.3f}',
                                  f'{macs / dense_macs:.3f}')
    Console(width=120).print(table)


if __name__ == '__main__':
    cv2.setNumThreads(1)
    main()
