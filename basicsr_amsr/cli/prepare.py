"""`basicsr prepare`: LR images, sub-images, LMDB and lists for training, and the check of pairs."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from basicsr_amsr.cli.metrics_report import write_json
from basicsr_amsr.cli.prepare_text import describe, figures, print_options, result, summary
from basicsr_amsr.cli.progress import quiet
from basicsr_amsr.data.prepare import layouts, train_options
from basicsr_amsr.data.prepare.carry_out import run as carry_out
from basicsr_amsr.data.prepare.settings import HR, Settings, check_scales
from basicsr_amsr.data.prepare.work_plan import Plan, make_plan
from basicsr_amsr.errors import UserError


def run(args: argparse.Namespace) -> int:
    """Prepare or check; returns 0."""
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise UserError(f"--json '{args.json}': there is no folder '{Path(args.json).parent}'.")
    if args.json and Path(args.json).is_dir():
        raise UserError(f"--json '{args.json}' is a folder; name a file.")
    workers = args.workers if args.workers is not None else available_cores()
    if workers < 1:
        raise UserError(f'--workers {workers}: it must be 1 or more.')
    hr = tuple(layouts.find_hr(Path(folder).expanduser()) for folder in args.hr)
    if args.check:
        from basicsr_amsr.cli.prepare_check import check
        return check(args, hr, parse_scales(args.scale), workers)
    settings = parse(args, hr)
    if args.dry_run:
        plan = make_plan(settings, args.overwrite)
        print('\n'.join(describe(plan)))
        if args.json:
            about = plan.bytes_about(plan.todo)
            write_json(Path(args.json), {**figures(plan), 'bytes_about': {
                str(target): about[side] for side, target in settings.targets.items()}})
        return 0
    return prepare(settings, workers, args)


def prepare(settings: Settings, workers: int, args: argparse.Namespace) -> int:
    """Carry out and report."""
    made: list[Plan] = []

    @contextmanager
    def watch(plan: Plan) -> Iterator[Callable[[], None]]:
        made.append(plan)
        print('\n'.join(describe(plan, sizes=False)), flush=True)
        with tqdm(total=plan.images, initial=plan.images - len(plan.todo), unit='img', desc='prepare',
                  dynamic_ncols=True, disable=quiet()) as bar:
            yield lambda: bar.update() and None

    try:
        report = carry_out(settings, workers, watch, args.overwrite)
    except KeyboardInterrupt:
        print('\nWhat is done is kept: the same command goes on from there.', file=sys.stderr)
        raise
    smallest = min(settings.crop or sys.maxsize, *(min(entry['shape']) for entry in report.entries))
    options = {scale: train_options.of_prepared(settings, scale, smallest) for scale in settings.scales}
    print('\n'.join(summary(settings, report)))
    print_options(options)
    if settings.crop is None and settings.lr is None and not settings.lmdb:
        print('# the same pairs without LR files: type: BicubicPairedImageDataset, '
              f'dataroot_gt: {settings.targets[HR]}')
    if args.json:
        write_json(Path(args.json), {**figures(made[-1]), **result(settings, report), 'datasets': options})
    return 0


def parse(args: argparse.Namespace, hr: tuple[Path, ...]) -> Settings:
    """The settings that the arguments say."""
    if not args.out:
        raise UserError('--out is missing; give a folder for the results.')
    for index, folder in enumerate(hr):
        if folder.resolve() in [other.resolve() for other in hr[:index]]:
            raise UserError(f"--hr names '{folder}' twice.")
    if args.lr and len(hr) > 1:
        raise UserError('--lr goes with one HR folder; prepare them one after the other.')
    taken = {field.name for field in fields(Settings)} - {'hr', 'out', 'lr', 'scales', 'filename_tmpl'}
    return Settings(hr=hr, out=Path(args.out).expanduser(), scales=parse_scales(args.scale),
                    lr=Path(args.lr).expanduser() if args.lr else None, filename_tmpl=args.filename_tmpl or '{}',
                    **{name: getattr(args, name) for name in taken})


def parse_scales(words: list[str]) -> tuple[int, ...]:
    """Scales from '2,3,4' or '2 3 4'; none where none are given."""
    try:
        scales = tuple(int(part) for word in words for part in word.split(',') if part)
    except ValueError:
        raise UserError(f'--scale {" ".join(words)}: scales are whole numbers, such as 2,3,4.') from None
    if scales:
        check_scales(scales)
    return scales


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
