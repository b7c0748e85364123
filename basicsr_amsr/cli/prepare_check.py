"""`basicsr prepare --check`: are these HR and LR images pairs?"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from basicsr_amsr.cli.metrics_report import write_json
from basicsr_amsr.cli.prepare_text import print_options
from basicsr_amsr.cli.progress import quiet
from basicsr_amsr.data.prepare import layouts, pairs, train_options
from basicsr_amsr.errors import UserError


def check(args: argparse.Namespace, hrs: tuple[Path, ...], scales: tuple[int, ...], workers: int) -> int:
    """Check and print; returns 0.

    Raises:
        UserError: the first problem, and how many there are.
    """
    if len(hrs) > 1:
        raise UserError('--check takes one HR folder at a time.')
    if args.recursive:
        raise UserError('--check looks at one folder, as PairedImageDataset does; leave out --recursive.')
    hr, lrs = hrs[0], lr_folders(args, hrs[0], scales)
    templates = {scale: (args.filename_tmpl or pairs.detect_template(hr, lr, scale)).replace('{scale}', str(scale))
                 for scale, lr in lrs.items()}
    print(f'HR: {hr}')
    for scale, lr in lrs.items():
        print(f"LR, scale {scale}: {lr}, names '{templates[scale]}'")

    @contextmanager
    def watch(total: int) -> Iterator[Callable[[], None]]:
        with tqdm(total=total, unit='img', desc='check', dynamic_ncols=True, disable=quiet()) as bar:
            yield lambda: bar.update() and None

    start = time.perf_counter()
    found = pairs.check(hr, lrs, templates, workers, watch, args.alpha)
    seconds = time.perf_counter() - start
    options: dict[int, dict[str, Any]] = {}
    if not found.problems:
        name = hr.name.split('.')[0]
        options = {scale: train_options.paired(name, hr, lr, scale, found.smallest, templates[scale])
                  for scale, lr in lrs.items()} or {
                      scale: train_options.on_the_fly(name, hr, scale, found.smallest) for scale in scales or (4,)}
    if args.json:
        write_json(Path(args.json), {'hr': str(hr), 'lr': {str(scale): str(lr) for scale, lr in lrs.items()},
                                     'filename_tmpl': templates, 'images': found.images, 'pairs': found.pairs,
                                     'seconds': round(seconds, 3), 'problems': found.problems, 'datasets': options})
    if found.problems:
        raise UserError(found.line())
    what = f'{found.pairs} pairs' if found.pairs else f'{found.images} HR images (there are no LR images)'
    print(f'{what} are in order; {seconds:.1f} s, {found.images / seconds:.1f} HR images/s, '
          f'{found.pixels / seconds / 1e6:.1f} MPixel/s')
    print_options(options)
    return 0


def lr_folders(args: argparse.Namespace, hr: Path, scales: tuple[int, ...]) -> dict[int, Path]:
    """LR folders by scale; empty where nobody named any and none are beside the HR folder."""
    lr = Path(args.lr).expanduser() if args.lr else None
    if lr is not None and not lr.is_dir():
        raise UserError(f"Folder '{lr}' is not there.")
    scales_there = scales or layouts.find_scales(hr, lr)
    if lr is not None and not scales_there:
        raise UserError(f"The folder name '{lr}' tells no scale; give --scale.")
    found = {scale: layouts.find_lr(hr, lr, scale) for scale in scales_there}
    absent = [scale for scale, folder in found.items() if folder is None]
    if absent and (lr is not None or len(absent) < len(found)):
        raise UserError(f"'{lr or hr.parent}' holds no LR images of scale {absent[0]}; name their folder with --lr.")
    return {scale: folder for scale, folder in found.items() if folder is not None}
