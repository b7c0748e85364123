"""BasicSR's `parse_options` with the same flags, reading option files and `--force_yml` as data, never as code."""
from __future__ import annotations

import argparse
import copy
import os
import random
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info

from basicsr_amsr.compat.devices import settle_devices
from basicsr_amsr.compat.distributed import agreed, init_dist
from basicsr_amsr.options.complete import (
    complete_datasets,
    complete_paths,
    complete_sections,
    set_debug_intervals,
)
from basicsr_amsr.options.flags import add_option_file_arguments
from basicsr_amsr.options.mistakes import Problem, raise_problems
from basicsr_amsr.options.option_file import OptionFile

# Called in order with the options and the command line, after `--force_yml` and before checks, defaults and paths.
# A hook changes the options in place; it may count on `rank`, `world_size`, `dist`, `is_train`, `auto_resume` and
# `root_path` being set.
OPTION_HOOKS: list[Callable[[dict[str, Any], argparse.Namespace], None]] = []


def build_parser() -> argparse.ArgumentParser:
    """BasicSR's command line, for programs that call BasicSR's pipelines by themselves."""
    parser = argparse.ArgumentParser()
    add_option_file_arguments(parser)
    return parser


def _start(opt: dict[str, Any], args: argparse.Namespace) -> None:
    """Join the other processes, if any."""
    opt['dist'] = args.launcher != 'none'
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    args.local_rank = int(os.environ.get('LOCAL_RANK', 0))
    if opt['dist']:
        init_dist(args.launcher, **(opt.get('dist_params') or {}))
    opt['rank'], opt['world_size'] = get_dist_info()


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Options for BasicSR's pipelines, from the command line and the option file that it names.

    Args:
        root_path: where `experiments/` or `results/` goes.
        is_train: training or testing.

    Returns:
        The options and the parsed command line.

    Raises:
        UserError: one line with the file and key, or the entry, at fault.
    """
    from basicsr_amsr.options.check import check_shared  # looks at what is registered, which is not here yet

    args = build_parser().parse_args()
    file = OptionFile.read(args.opt)
    file.force(args.force_yml)
    return settle(file, args, root_path, is_train, lambda opt: check_shared(opt, is_train)), args


def settle(file: OptionFile, args: argparse.Namespace, root_path: str, is_train: bool,
           check: Callable[[dict[str, Any]], list[Problem]]) -> dict[str, Any]:
    """The options of a file, as BasicSR's pipelines want them.

    In order: the launcher, `OPTION_HOOKS`, plugins, checks, defaults, seeds, devices, paths.

    Args:
        file: the merged options; they stay as they are.
        args: the command line, as `build_parser` reads it.
        root_path: where `experiments/` or `results/` goes.
        is_train: training or testing.
        check: what is wrong with the options.

    Raises:
        UserError: one line for each mistake, with the file and key.
    """
    from basicsr_amsr.plugins import load_plugins

    opt = copy.deepcopy(file.options)
    _start(opt, args)
    opt.update(auto_resume=args.auto_resume, is_train=is_train, root_path=root_path)
    for hook in OPTION_HOOKS:
        hook(opt, args)
    load_plugins(opt, args.opt)
    raise_problems(check(opt), file.where)
    complete_sections(opt, is_train)

    if opt.get('manual_seed') is None:
        # One for all processes, and a resumed run takes that of its state instead.
        opt.update(manual_seed=agreed(lambda: random.randint(1, 10000)), manual_seed_drawn=True)
    set_random_seed(opt['manual_seed'] + opt['rank'])

    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'
    if is_train and 'debug' in opt['name']:
        set_debug_intervals(opt)
    settle_devices(opt)
    complete_datasets(opt)
    complete_paths(opt, root_path, is_train)
    return opt


def copy_opt_file(opt_file: str, experiments_root: str) -> None:
    """Write the options of the run, with those of base files, by the first process; the others wait for it."""
    copy = Path(experiments_root) / Path(opt_file).name
    agreed(lambda: OptionFile.read(opt_file).write(copy, shlex.join(sys.argv)))
