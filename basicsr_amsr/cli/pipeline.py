"""Runs BasicSR's train_pipeline and test_pipeline in the current folder, with what the command adds."""
from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch.distributed as dist
from basicsr.utils import logger as basicsr_logger
from basicsr.utils import misc

from basicsr_amsr.cli.checks import check_files, check_names, check_purpose, leave_out_absent_sets
from basicsr_amsr.cli.explain import explain
from basicsr_amsr.cli.folders import FreshFolders
from basicsr_amsr.cli.options import Options, merge
from basicsr_amsr.cli.progress import log_above_bars, quiet
from basicsr_amsr.cli.replace import replaced
from basicsr_amsr.compat.options import OPTION_HOOKS, force_options, parse_options
from basicsr_amsr.errors import UserError
from basicsr_amsr.resources import resolve

Watch = Callable[[Any, Options], AbstractContextManager[None]]


def add_option_file_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's flags, with BasicSR's spelling."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (YAML)')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE',
                        help='change options of the file, e.g. datasets:train:gt_size=96')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='pytorch: started by torchrun; slurm: by srun')
    parser.add_argument('--auto_resume', action='store_true', help="go on from the experiment's latest saved state")
    parser.add_argument('--debug', action='store_true', help='log every iteration, validate and save every eighth')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


class Pipeline:
    """One run of a BasicSR pipeline.

    Args:
        args: the command line; see `add_option_file_arguments`.
        is_train: train_pipeline or test_pipeline.
        watch: a context that is entered with the built model and the options, and left when the run ends.
        demo: put the file's `demo:` options over the others.
    """

    def __init__(self, args: argparse.Namespace, is_train: bool, watch: Watch, demo: bool = False) -> None:
        self.args, self.is_train, self.watch, self.demo = args, is_train, watch, demo
        self.file = str(resolve(args.opt))
        self.options = Options({}, self.file)
        self.demo_offered = False
        self.folders = FreshFolders()
        self.stack = ExitStack()

    def run(self) -> Options:
        """Run to the end and return the options that were used.

        Raises:
            UserError: a mistake in the options or in the data; an earlier experiment is back under its name where the
                run ended before its first iteration or test set.
        """
        module = importlib.import_module('basicsr.train' if self.is_train else 'basicsr.test')
        pipeline = module.train_pipeline if self.is_train else module.test_pipeline
        names = {name: getattr(self, name) for name in ('parse_options', 'build_dataset', 'build_model')}
        self.build = {name: getattr(module, name) for name in ('build_dataset', 'build_model')}
        if self.is_train:
            names['mkdir_and_rename'] = self.folders.make
        try:
            with (self.stack, _own_process_state(), replaced(module, names),
                  replaced(misc, {'mkdir_and_rename': self.folders.make}), replaced(sys, {'argv': self.argv()})):
                pipeline(os.getcwd())
        except BaseException as error:
            self.folders.undo()
            if isinstance(error, Exception) and not isinstance(error, UserError):
                self.raise_mistake(error)
            raise
        return self.options

    def argv(self) -> list[str]:
        """The command line as `parse_options` reads it."""
        args = self.args
        command = 'basicsr train' if self.is_train else 'basicsr test'  # stands in BasicSR's copy of the option file
        words = [f'{command} --demo' if self.demo else command, '-opt', self.file, '--launcher', args.launcher]
        words += ['--auto_resume'] * args.auto_resume + ['--debug'] * args.debug
        if args.local_rank is not None:
            words += ['--local_rank', str(args.local_rank)]
        return [*words, '--force_yml', *args.force_yml] if args.force_yml else words

    def parse_options(self, root_path: str, is_train: bool) -> tuple[Options, argparse.Namespace]:
        """Options with everything checked that can be checked before folders are made."""
        OPTION_HOOKS.append(self.settle_demo)
        try:
            plain, args = parse_options(root_path, is_train)
        finally:
            OPTION_HOOKS.remove(self.settle_demo)
        self.options = opt = Options(plain, self.file)
        check_names(opt)
        if not is_train:
            check_purpose(opt)
            leave_out_absent_sets(opt)
        check_files(opt, self.demo_offered)
        if opt.get('val') is not None and opt['val'].get('pbar') is None:
            opt['val']['pbar'] = not quiet()
        return opt, args

    def settle_demo(self, opt: dict[str, Any], args: argparse.Namespace) -> None:
        """Take the `demo:` options out, and put them over the others where they are asked for."""
        demo = opt.pop('demo', None)
        self.demo_offered = demo is not None and not self.demo
        if not self.demo:
            return
        if not isinstance(demo, dict):
            raise UserError(f'{self.file}: --demo: the file has no `demo:` options.')
        merge(opt, demo)
        force_options(opt, args.force_yml or ())  # what the command line asks for comes last
        opt['name'] = f'{opt.get("name")}_demo'

    def raise_mistake(self, error: Exception, place: str = '') -> None:
        """Raise the user's mistake behind `error`; returns where it may be a bug."""
        mistake = explain(error, self.options, self.file, place)
        if mistake is not None:
            raise mistake from error

    def build_dataset(self, options: Options) -> Any:
        """BasicSR's build_dataset; what goes wrong names the data set."""
        try:
            return self.build['build_dataset'](options)
        except Exception as error:
            self.raise_mistake(error, options.place)
            raise

    def build_model(self, options: Options) -> Any:
        """BasicSR's build_model; the run has started once the model has trained or validated for the first time."""
        try:
            model = self.build['build_model'](options)
        except Exception as error:
            self.raise_mistake(error)
            raise
        self.stack.enter_context(_called_first(
            model, 'optimize_parameters' if self.is_train else 'validation', self.folders.keep))
        self.stack.enter_context(log_above_bars())
        self.stack.enter_context(self.watch(model, options))
        return model


def _called_first(target: Any, name: str, then: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `then` when the method has returned for the first time."""
    method = getattr(target, name)

    def first(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        then()
        return result

    return replaced(target, {name: first})


@contextmanager
def _own_process_state() -> Iterator[None]:
    """Close BasicSR's log file and leave the process group at the end, so that another run may follow."""
    joined = dist.is_available() and dist.is_initialized()
    try:
        yield
    finally:
        logger = logging.getLogger('basicsr')
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        basicsr_logger.initialized_logger.pop('basicsr', None)
        if not joined and dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
