"""`basicsr bench`: networks in sparse forms timed against dense ones and other engines, each in its own process."""
from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from basicsr_amsr.bench.comparison_picture import draw
from basicsr_amsr.bench.comparisons import Plan, check, comparisons
from basicsr_amsr.bench.grid import Amount, Grid
from basicsr_amsr.bench.images import Images
from basicsr_amsr.bench.networks import Network, by_name
from basicsr_amsr.bench.rivals import chosen
from basicsr_amsr.bench.rounds import Settings
from basicsr_amsr.bench.table import lines, report_table
from basicsr_amsr.cli.metrics_report import show, write_json
from basicsr_amsr.cli.option_network import choose_device, named, read_options
from basicsr_amsr.data.image_io import list_images
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.precision import DTYPES
from basicsr_amsr.files import save_whole
from basicsr_amsr.plugins import load_installed
from basicsr_amsr.profiling.subject import parse_size
from basicsr_amsr.resources import resolve

KEEPS = [0.25, 0.5, 0.75]


def run(args: argparse.Namespace) -> int:
    """Measure, print and write; exit code 0, 1 where something was refused, 130 where it was interrupted."""
    check_flags(args)
    plan = plan_of(args)
    reports: list[dict[str, Any]] = []
    stopped: BaseException | None = None
    with ended_as_interrupted(), telling() as tell:
        facts = check(plan, tell)
        try:
            for report in comparisons(plan, facts, tell, lambda partial: write(args, [*reports, partial], True)):
                reports.append(report)
                show(report_table(report), *lines(report), '')
        except (KeyboardInterrupt, UserError) as error:
            stopped = error
    written = write(args, reports, stopped is not None, args.plot)
    if stopped is not None:
        print('basicsr: stopped' + (f': {written} hold what was measured until then.' if written else '.'),
              file=sys.stderr)
    if isinstance(stopped, UserError):
        raise stopped
    if stopped is not None:
        return 130
    return int(any(not one['absent'] for report in reports for one in report['not_measured']))


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """Inside, a process that is told to end (`timeout`, a queue) prints and writes what it has, as at Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def telling() -> Iterator[Callable[[str], Any]]:
    """A function that shows how far it is: on a terminal in one line that goes at the end, else in a line each."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status('') as status:
            yield status.update
    else:
        yield lambda stage: print(f'basicsr: {time.strftime("%H:%M:%S")} {stage}', file=sys.stderr, flush=True)


def check_flags(args: argparse.Namespace) -> None:
    """Raise a UserError for flags that make no sense, alone or together."""
    if not args.opt and not args.network:
        raise UserError('name option files, -opt FILE …, or networks, --network NAME … (see `basicsr list backbone`).')
    for flag, file in (('--json', args.json), ('--plot', args.plot)):
        if file and not Path(file).parent.is_dir():
            raise UserError(f'{flag} {file}: there is no folder {Path(file).parent}.')
    if args.plot and not args.plot.lower().endswith('.png'):
        raise UserError(f'--plot {args.plot}: name a file that ends in .png.')
    if not args.seconds >= 0:
        raise UserError(f'--seconds {args.seconds:g}: give 0 or more.')
    if not args.timeout > 0:
        raise UserError(f'--timeout {args.timeout:g}: give more than 0.')
    for flag in ('rounds', 'threads', 'max_images', 'max_hr', 'upscale'):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f'--{flag.replace("_", "-")} {value}: give 1 or more.')
    if args.max_hr is not None and not args.hr:
        raise UserError(f'--max-hr {args.max_hr} belongs to --hr DIR.')
    if args.force_yml and not args.opt:
        raise UserError('--force_yml changes option files: name one, -opt FILE.')


def plan_of(args: argparse.Namespace) -> Plan:
    """What the flags ask for.

    Raises:
        UserError: a value that is not possible, a file that is not there.
    """
    amounts = [*(Amount('keep', value) for value in args.keep or ([] if args.budget or args.keep_by_level else KEEPS)),
               *(Amount('budget', value) for value in args.budget),
               *(Amount('keep_by_level', value) for value in args.keep_by_level)]
    grid = Grid(once(amounts), once(args.patch_size) if args.patch_size else None,
                once(args.backend) if args.backend else None, args.auto)
    quality = list_images(resolve(args.hr))[:args.max_hr] if args.hr else []
    return Plan(networks_of(args), grid, once(parse_size(size) for size in args.size),
                once(choose_device(name) for name in args.device or [None]),
                once(DTYPES[name] for name in args.dtype),
                Images(args.images or args.hr, args.max_images, high=not args.images and bool(args.hr)), quality,
                Settings(args.rounds, args.seconds, args.timeout,
                         () if args.rivals is None else chosen(args.rivals)), args.threads)


def once(values: Any) -> tuple[Any, ...]:
    """Each value once, in the order in which they come."""
    return tuple(dict.fromkeys(values))


def networks_of(args: argparse.Namespace) -> list[Network]:
    """The networks of the option files, by the files' names, and those of --network."""
    found = [Network(name, read_options(file, args.force_yml), str(resolve(file)))
             for name, file in named(args.opt).items()]
    for problem in load_installed() if args.network else []:
        print(f'basicsr: warning: {problem}', file=sys.stderr)
    found += [by_name(name, args.upscale) for name in once(args.network)]
    names = [network.name for network in found]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UserError(f"'{double}' is both an option file of -opt and a --network: leave one out.")
    return found


def write(args: argparse.Namespace, reports: list[dict[str, Any]], interrupted: bool, plot: str | None = None) -> str:
    """Write the figures, and a picture; returns the files' names, '' where there is nothing to write."""
    files = [file for file in (args.json, plot) if file]
    if not reports or not files:
        return ''
    settings = {key: value for key, value in vars(args).items() if key not in ('command', 'json', 'plot')}
    if args.json:
        write_json(Path(args.json), {
            'command': shlex.join(['basicsr', *sys.argv[1:]]), 'date': date.today().isoformat(), 'flags': settings,
            'interrupted': interrupted, 'comparisons': reports})
    if plot:
        save_whole(plot, draw(reports))
    return ' and '.join(files)
