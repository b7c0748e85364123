"""PSNR and MACs of an accelerated network that was not trained for it, at fixed shares of active patches, untimed.

    python benchmarks/amsr_keep.py --weights RFDN_x4 --images Set14/HR --keeps 0.75 0.5
    python benchmarks/amsr_keep.py --weights PAN_x4.pth --network type=PAN upscale=4 --images ...

PSNR is on Y with a border of the scale, MACs are those of the whole network, counted on each image; both are means.
`basicsr bench --hr DIR` measures PSNR beside time, with MACs at the timed size.
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
from basicsr_amsr.bench.networks import scale_of
from basicsr_amsr.bench.quality import pair, psnr
from basicsr_amsr.data.image_io import list_images
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


@torch.no_grad()
def measure(net: torch.nn.Module, pairs: Sequence[tuple[torch.Tensor, np.ndarray]], scale: int) -> tuple[float, float]:
    """Mean PSNR in dB and mean MACs over (LR image, HR image)."""
    quality = [psnr(net(low), high, scale) for low, high in pairs]
    return float(np.mean(quality)), float(np.mean([count(net, low).macs for low, _ in pairs]))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', required=True, help="of load_pretrained: a name, or a file")
    parser.add_argument('--network', nargs='*', default=[], metavar='KEY=VALUE', help='its options: type=PAN upscale=4')
    parser.add_argument('--images', required=True, help='a folder of HR images')
    parser.add_argument('--first', type=int, help='only so many of them')
    parser.add_argument('--keeps', type=float, nargs='+', default=[0.75, 0.5, 0.25])
    parser.add_argument('--patch-size', type=int, nargs='+', default=[8])
    parser.add_argument('--dense-first', type=int, nargs='+', default=[0])
    parser.add_argument('--smooth', type=int, default=5)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    net = load_pretrained(args.weights, **{key: yaml.safe_load(value) for key, value in
                                           (item.split('=') for item in args.network)})
    scale = scale_of(net, 3)
    pairs = [pair(path, scale) for path in list_images(args.images)[:args.first]]
    dense, dense_macs = measure(net, pairs, scale)
    table = Table(title=f'{args.weights} x{scale}, {len(pairs)} images, '
                        f'dense {dense:.3f} dB, {dense_macs / 1e9:.2f} GMAC')
    for name in ('keep', 'patch_size', 'dense first', 'PSNR', 'against dense', 'MACs / dense'):
        table.add_column(name)
    for keep in args.keeps:
        for patch_size in args.patch_size:
            for first in args.dense_first:
                selection = HighFrequencyMask(keep=keep, smooth=args.smooth, patch_size=patch_size)
                accelerate_(net, AMSRConfig(selection, dense_first=first, mode='sparse'))
                quality, macs = measure(net, pairs, scale)
                table.add_row(f'{keep}', f'{patch_size}', f'{first}', f'{quality:.3f}', f'{quality - dense:+.3f}',
                              f'{macs / dense_macs:.3f}')
    Console(width=120).print(table)


if __name__ == '__main__':
    cv2.setNumThreads(1)
    main()
