"""SFM of a batch, beside the authors' way: SciPy's fftpack, image by image and channel by channel.

    python benchmarks/sfm_speed.py --threads 2
    python benchmarks/sfm_speed.py --device cuda

Both mask every sample (rate 1) in the central mode. They run in turn in one process; medians over the rounds.
"""
from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.fftpack import dct, idct

from basicsr_amsr.sfm import StochasticFrequencyMasking
from basicsr_amsr.transforms.base import seeded_generator


def loop(batch: np.ndarray) -> np.ndarray:
    """The masking of (B, C, H, W) by a loop, as a data loader that follows the paper's description would do it."""
    result = np.empty_like(batch)
    height, width = batch.shape[-2:]
    for image, masked in zip(batch, result, strict=True):
        inner, outer = sorted(random.random() * np.hypot(height, width) for _ in range(2))
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        radius = np.sqrt(rows * rows + columns * columns)
        mask = np.ones((height, width))
        mask[(radius > inner) & (radius < outer)] = 0
        for channel, plane in enumerate(image):
            coefficients = dct(dct(plane, axis=0, norm='ortho'), axis=1, norm='ortho') * mask
            masked[channel] = idct(idct(coefficients, axis=0, norm='ortho'), axis=1, norm='ortho')
    return result


def seconds(run: Callable[[], object], synchronize: Callable[[], object]) -> float:
    """Wall time of one call."""
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--size', type=int, default=192)
    parser.add_argument('--channels', type=int, default=3)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=21)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    random.seed(0)

    images = torch.rand(args.batch, args.channels, args.size, args.size, generator=seeded_generator(0))
    on_device = images.to(args.device)
    transform = StochasticFrequencyMasking('central', rate=1)
    arrays = {'float32': images.numpy(), 'float64': images.double().numpy()}
    runs: dict[str, Callable[[], object]] = {'batch': lambda: transform(on_device)}
    runs.update({f'fftpack loop, {name}': lambda array=array: loop(array) for name, array in arrays.items()})
    synchronize = torch.cuda.synchronize if on_device.is_cuda else lambda: None
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(-2, args.rounds):  # two rounds to warm up
        for name, run in runs.items():
            elapsed = seconds(run, synchronize)
            if number >= 0:
                times[name].append(elapsed)

    device = torch.cuda.get_device_name() if on_device.is_cuda else f'CPU, {args.threads} threads'
    print(f'{tuple(images.shape)}, {device}, PyTorch {torch.__version__}, median of {args.rounds} rounds')
    ours = times['batch']
    for name, values in times.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(values, ours, strict=True))
        print(f'{name:22} {statistics.median(values) * 1e6:12,.0f} µs   {ratio:6.2f} times the batch')


if __name__ == '__main__':
    main()
