"""Seconds of `basicsr prepare` for LR images and sub-images, beside BasicSR's own scripts, in turn in one run.

    python benchmarks/prepare.py --hr DIR --basicsr CHECKOUT --rounds 3

BasicSR's way: `basicsr.utils.matlab_functions.imresize` on the cropped images, written as PNG, then the worker of
`scripts/data_preparation/extract_subimages.py` (in its repository, not in its release) for HR and each scale.
"""
from __future__ import annotations

import argparse
import importlib
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from basicsr_amsr.data.image_io import list_images
from basicsr_amsr.data.prepare.carry_out import run
from basicsr_amsr.data.prepare.settings import Settings

# isort: split
from basicsr.utils.matlab_functions import imresize  # basicsr_amsr has mended BasicSR's imports by now

SCALES = (2, 3, 4)
CROP = 480


def ours(hr: Path, out: Path, workers: int) -> None:
    """Through the runner behind the command."""
    run(Settings(hr=(hr,), out=out, scales=SCALES, crop=CROP), workers, lambda _: nullcontext(lambda: None))


def theirs(extract: Any, hr: Path, out: Path, workers: int) -> None:
    """LR images, then sub-images of four folders."""
    folders = {scale: out / f'X{scale}' for scale in (1, *SCALES)}
    for folder in folders.values():
        folder.mkdir()
        folder.with_name(f'{folder.name}_sub').mkdir()
    spread(partial(downscale, folders=folders), list_images(hr), workers)
    for scale, folder in folders.items():
        opt = {'crop_size': CROP // scale, 'step': CROP // 2 // scale, 'thresh_size': 0, 'compression_level': 3,
               'save_folder': str(folder.with_name(f'{folder.name}_sub'))}
        spread(partial(cut, extract, opt), list_images(folder), workers)


def downscale(path: Path, folders: dict[int, Path]) -> None:
    """The cropped image and its LR images by BasicSR's imresize."""
    img = cv2.imread(str(path))
    height, width = (size // 12 * 12 for size in img.shape[:2])
    hr = img[:height, :width]
    for scale, folder in folders.items():
        low = hr if scale == 1 else np.uint8((imresize(hr / 255, 1 / scale).clip(0, 1) * 255).round())
        cv2.imwrite(str(folder / f'{path.stem}.png'), low)


def cut(extract: Any, opt: dict[str, Any], path: Path) -> None:
    """BasicSR's worker; an image smaller than the crop makes it fail, and its script goes on without it."""
    with suppress(IndexError):
        extract(str(path), opt)


def spread(function: Callable[[Path], None], paths: Sequence[Path], workers: int) -> None:
    """Call it for all paths."""
    if workers == 1:
        for path in paths:
            function(path)
        return
    with Pool(workers) as pool:
        pool.map(function, paths, chunksize=1)


def cpu_seconds() -> float:
    """Of this process and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--hr', type=Path, required=True, metavar='DIR')
    parser.add_argument('--basicsr', type=Path, required=True, metavar='DIR', help="a checkout of BasicSR's repository")
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--folder', metavar='DIR', help='where to write (default: the temporary folder)')
    args = parser.parse_args(argv)

    sys.path.append(str(args.basicsr / 'scripts/data_preparation'))
    module = importlib.import_module('extract_subimages')
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # BasicSR's imresize would wait for threads that a fork has not
    pixels = sum(np.prod(cv2.imread(str(path)).shape[:2]) for path in list_images(args.hr))
    ways = {f'{name}, {workers} worker{"s" * (workers > 1)}': partial(function, workers=workers)
            for workers in (1, 2)
            for name, function in (('basicsr prepare', ours), ("BasicSR's scripts", partial(theirs, module.worker)))}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds + 1):
        for name, way in ways.items():
            out = Path(tempfile.mkdtemp(dir=args.folder))
            start = time.perf_counter(), cpu_seconds()
            way(args.hr, out)
            seconds[name].append((time.perf_counter() - start[0], cpu_seconds() - start[1]))
            shutil.rmtree(out)
    print(f'{args.hr}: {pixels / 1e6:.1f} MPixel, crop {CROP}, scales {SCALES}; median of {args.rounds} rounds after a '
          f'first; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores')
    for name, times in seconds.items():
        wall, cpu = (statistics.median(values) for values in zip(*times[1:], strict=True))
        print(f'{name:30} {wall:7.2f} s ({pixels / wall / 1e6:5.2f} MPixel/s), CPU {cpu:7.2f} s')


if __name__ == '__main__':
    main()
