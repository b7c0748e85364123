"""Images per second of BasicSR's usual training path and of the fast ones, in turn in one run.

    python benchmarks/training_speed.py --network FSRCNN --scale 4 --batch 16 --patch 64 --workers 1 --device cpu

Every path trains the same network on the same crops with BasicSR's SRModel, L1 loss and Adam, from PNG files that are
written first. Paths take turns, an interval each, in which workers start anew and some iterations go before those that
count; figures are medians over the intervals. The stock path is PairedImageDataset from folders with workers, in
float32, with losses read in every iteration.
"""
from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.table import Table

import basicsr_amsr.register  # noqa: F401  # mends BasicSR, which comes next

# isort: split
from basicsr.data.prefetch_dataloader import CPUPrefetcher
from basicsr.models import build_model

from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, read_image
from basicsr_amsr.resources import resolve
from basicsr_amsr.training.interval_timer import IntervalTimer
from basicsr_amsr.training.loaders import create_train_val_dataloader

# Name: (option `memory`, options under `train:`). Without a GPU, `memory: device` is what `memory: host` is.
PATHS: dict[str, tuple[str | None, dict[str, Any]]] = {
    'stock': (None, {}),
    'memory host': ('host', {}),
    'memory device': ('device', {}),
    'channels_last': (None, {'channels_last': True}),
    'bf16': (None, {'amp': 'bf16'}),
    'compile': (None, {'compile': True}),
    'memory + channels_last': ('device', {'channels_last': True}),
    'memory + channels_last + bf16': ('device', {'channels_last': True, 'amp': 'bf16'}),
    'memory + channels_last + bf16 + compile': ('device', {'channels_last': True, 'amp': 'bf16', 'compile': True}),
}


def write_pairs(images: str, folder: Path, scale: int, least: int) -> int:
    """HR (cropped to a multiple of the scale) and LR images as PNG in folder/gt and folder/lq; how many there are."""
    for name in ('gt', 'lq'):
        (folder / name).mkdir()
    count = 0
    for path in list_images(resolve(images)):
        image = read_image(path)
        height, width = (side // scale * scale for side in image.shape[:2])
        if min(height, width) < least:
            continue
        cv2.imwrite(str(folder / 'gt' / f'{path.stem}.png'), image[:height, :width])
        cv2.imwrite(str(folder / 'lq' / f'{path.stem}.png'), downscale(image, scale))
        count += 1
    if not count:
        raise SystemExit(f'{images} has no image of {least}x{least} pixels or more.')
    return count


class TrainingPath:
    """One way to train, that goes on where it stopped."""

    def __init__(self, name: str, options: Callable[[str | None, dict[str, Any]], dict[str, Any]]) -> None:
        memory, train = PATHS[name]
        opt = options(memory, train)
        self.stock = name == 'stock'
        loader, self.order, *_ = create_train_val_dataloader(opt, logging.getLogger('benchmark'))
        self.fetcher, self.model = CPUPrefetcher(loader), build_model(opt)
        self.iteration = self.epoch = 0

    def run(self, ahead: int, iterations: int) -> tuple[float, float]:
        """Train `ahead` iterations, then those that count; seconds of one, and share of them that waits for data."""
        self.order.set_epoch(self.epoch)
        self.epoch += 1
        self.fetcher.reset()
        for number in range(ahead + iterations):
            if number == ahead:
                if self.model.device.type == 'cuda':
                    torch.cuda.synchronize()
                data, whole = IntervalTimer(), IntervalTimer()
            batch = self.fetcher.next()
            if number >= ahead:
                data.record()
            self.iteration += 1
            self.model.update_learning_rate(self.iteration)
            self.model.feed_data(batch)
            self.model.optimize_parameters(self.iteration)
            if self.stock:
                self.model.get_current_log()
            if number >= ahead:
                whole.record()
                data.start()
        self.fetcher.loader.close()  # its workers end
        seconds = whole.get_avg_time()
        return seconds, data.get_avg_time() / seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--network', default='FSRCNN', help='a registered network that takes upscale (default: FSRCNN)')
    parser.add_argument('--scale', type=int, default=4)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--patch', type=int, default=64, help='side of a crop in LR pixels')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--images', default='demo/train', metavar='FOLDER', help='HR images (default: bundled ones)')
    parser.add_argument('--paths', default=','.join(PATHS), help='which to time (default: all)')
    parser.add_argument('--iterations', type=int, default=10, help='of an interval')
    parser.add_argument('--intervals', type=int, default=5)
    parser.add_argument('--threads', type=int)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args(argv)
    logging.getLogger('basicsr').setLevel(logging.WARNING)
    if args.threads:
        torch.set_num_threads(args.threads)
    names = [name.strip() for name in args.paths.split(',')]
    if unknown := [name for name in names if name not in PATHS]:
        parser.error(f'there is no path {unknown[0]}; there is: {", ".join(PATHS)}')
    torch.backends.cudnn.benchmark = True

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        count = write_pairs(args.images, folder, args.scale, args.patch * args.scale)

        def options(memory: str | None, train: dict[str, Any]) -> dict[str, Any]:
            torch.manual_seed(0)
            return {
                'name': 'benchmark', 'model_type': 'SRModel', 'scale': args.scale, 'is_train': True, 'dist': False,
                'num_gpu': int(args.device == 'cuda'), 'rank': 0, 'world_size': 1, 'manual_seed': 0, 'path': {},
                'datasets': {'train': {
                    'name': 'pairs', 'type': 'PairedImageDataset', 'phase': 'train', 'scale': args.scale,
                    'dataroot_gt': str(folder / 'gt'), 'dataroot_lq': str(folder / 'lq'),
                    'io_backend': {'type': 'disk'}, 'gt_size': args.patch * args.scale, 'use_hflip': True,
                    'use_rot': True, 'batch_size_per_gpu': args.batch, 'num_worker_per_gpu': args.workers,
                    'dataset_enlarge_ratio': 100, 'pin_memory': args.device == 'cuda', 'memory': memory}},
                'network_g': {'type': args.network, 'upscale': args.scale},
                'train': {'total_iter': 10**6, 'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'pixel_opt': {'type': 'L1Loss'},
                          'scheduler': {'type': 'MultiStepLR', 'milestones': [10**6]}, **train}}

        paths = {name: TrainingPath(name, options) for name in names}
        first = {}
        for name, path in paths.items():
            begin = time.perf_counter()
            path.run(0, 1)
            first[name] = time.perf_counter() - begin
        ahead = 2 * args.workers + 2  # as many batches as workers make ahead are no measure
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(args.intervals):
            for name, path in paths.items():
                rounds[name].append(path.run(ahead, args.iterations))

    reference = [seconds for seconds, _ in rounds[names[0]]]
    figures = {name: {
        'images_per_second': args.batch / statistics.median(seconds for seconds, _ in values),
        'data_wait': statistics.median(wait for _, wait in values),
        'ratio': statistics.median(ours / seconds for ours, (seconds, _) in zip(reference, values, strict=True)),
        'first_iteration_s': first[name]} for name, values in rounds.items()}
    table = Table(title=f'{args.network} x{args.scale}, batch {args.batch} of {args.patch}x{args.patch} LR')
    for head in ('path', 'images/s', 'data wait', f'times {names[0]}', 'first iteration'):
        table.add_column(head, justify='left' if head == 'path' else 'right')
    for name, row in figures.items():
        table.add_row(name, f'{row["images_per_second"]:.1f}', f'{row["data_wait"]:.1%}', f'{row["ratio"]:.2f}',
                      f'{row["first_iteration_s"]:.1f} s')
    device = torch.cuda.get_device_name() if args.device == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    Console(width=110).print(table)
    print(f'{device}, PyTorch {torch.__version__}, {count} images, {args.workers} workers, '
          f'median of {args.intervals} interleaved intervals of {args.iterations} iterations')
    if args.json:
        Path(args.json).write_text(json.dumps({**vars(args), 'device': device, 'paths': figures}, indent=2) + '\n',
                                   encoding='utf-8')


if __name__ == '__main__':
    main()
