"""Runs BasicSR's train_pipeline and test_pipeline in the current folder, with what the command adds."""
from __future__ import annotations

import argparse
import importlib
import logging
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
from basicsr.utils import logger as basicsr_logger
from basicsr.utils import misc

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr.cli.checks import absent_files, check_purpose, leave_out_absent_sets
from basicsr_amsr.cli.data_checks import unusable_data
from basicsr_amsr.cli.explain import explain
from basicsr_amsr.cli.folders import FreshFolders
from basicsr_amsr.cli.options import Options
from basicsr_amsr.cli.progress import log_above_bars, quiet
from basicsr_amsr.cli.replace import replaced
from basicsr_amsr.compat.distributed import agreed
from basicsr_amsr.data.items import check_test_images
from basicsr_amsr.options.check import check
from basicsr_amsr.options.mistakes import OptionMistakes, Problem
from basicsr_amsr.options.option_file import OptionFile
from basicsr_amsr.options.parse import settle
from basicsr_amsr.resources import resolve

Watch = Callable[[Any, Options], AbstractContextManager[None]]


class Pipeline:
    """One run of a BasicSR pipeline.

    Args:
        args: the command line; see `options.flags`.
        is_train: train_pipeline or test_pipeline.
        watch: a context that is entered with the built model and the options, and left when the run ends.
        demo: put the file's `demo:` options over the others.
    """

    def __init__(self, args: argparse.Namespace, is_train: bool, watch: Watch, demo: bool = False) -> None:
        self.args, self.is_train, self.watch, self.demo = args, is_train, watch, demo
        self.file = str(resolve(args.opt))
        self.options = Options({}, self.file)
        self.source = OptionFile(self.file)
        self.demo_offered = False
        self.folders = FreshFolders()
        self.stack = ExitStack()
        self.model: Any = None

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
            names.update(mkdir_and_rename=self.folders.make, copy_opt_file=self.copy_option_file)
        try:
            with (self.stack, _own_process_state(), replaced(module, names),
                  replaced(misc, {'mkdir_and_rename': self.folders.make})):
                pipeline(os.getcwd())
        except BaseException as error:
            self.folders.undo()
            if isinstance(error, Exception) and not isinstance(error, OptionMistakes):
                self.raise_mistake(error)
            raise
        finally:
            self.folders.leave()
        return self.options

    def command(self) -> str:
        """The command line, for the copy of the option file."""
        args = self.args
        words = ['basicsr', 'train' if self.is_train else 'test', *['--demo'] * self.demo, '-opt', self.file]
        words += ['--launcher', args.launcher] * (args.launcher != 'none')
        words += ['--auto_resume'] * args.auto_resume + ['--debug'] * args.debug
        return shlex.join([*words, '--force_yml', *args.force_yml] if args.force_yml else words)

    def copy_option_file(self, _: str, folder: str) -> None:
        """Write the options into the folder of the run, complete: stands in for BasicSR's function of that name."""
        agreed(lambda: self.source.write(Path(folder) / Path(self.file).name, self.command()))

    def parse_options(self, root_path: str, is_train: bool) -> tuple[Options, argparse.Namespace]:
        """Options with everything checked that can be checked before folders are made."""
        self.source = source = OptionFile.read(self.file)
        self.demo_offered = 'demo' in source.options and not self.demo
        if self.demo:
            source.use_demo()
        source.options.pop('demo', None)
        source.force(self.args.force_yml)
        self.args.opt = self.file
        plain = settle(source, self.args, root_path, is_train, self.check)
        self.options = opt = Options(plain, self.file)
        agreed(lambda: self.folders.claim(opt['path']['log']))
        if not is_train:
            check_purpose(opt)
            leave_out_absent_sets(opt)
        if opt.get('val') is not None and opt['val'].get('pbar') is None:
            opt['val']['pbar'] = not quiet()
        return opt, self.args

    def check(self, opt: dict[str, Any]) -> list[Problem]:
        """Everything that is wrong with the options. Absent test sets are left out later, where others are there."""
        return [*check(opt, self.is_train), *absent_files(opt, self.is_train, self.demo_offered), *unusable_data(opt)]

    def raise_mistake(self, error: Exception, place: str = '') -> None:
        """Raise the user's mistake behind `error`; returns where it may be a bug."""
        mistake = explain(error, self.options, self.file, place, self.model)
        if mistake is error:
            raise mistake
        if mistake is not None:
            raise mistake from error

    def build_dataset(self, options: Options) -> Any:
        """BasicSR's build_dataset; what goes wrong names the data set."""
        try:
            dataset = self.build['build_dataset'](options)
            if options['phase'] != 'train':
                check_test_images(dataset, (self.options.get('val') or {}).get('metrics') or {})
            return dataset
        except Exception as error:
            self.raise_mistake(error, options.place)
            raise

    def build_model(self, options: Options) -> Any:
        """BasicSR's build_model; the run has started once the model has trained or validated for the first time."""
        try:
            model = self.model = self.build['build_model'](options)
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
        if not joined and dist.is_available() and dist.is_initialized():
            dist.barrier()  # the first process may still be saving, and its peers leave the group together with it
    finally:
        logger = logging.getLogger('basicsr')
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        basicsr_logger.initialized_logger.pop('basicsr', None)
        if not joined and dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
