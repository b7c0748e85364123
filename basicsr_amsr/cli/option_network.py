"""The network of an option file, for commands that need no data set: its options, its model, its device."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.utils import get_root_logger

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr.cli.checks import absent_files
from basicsr_amsr.errors import UserError
from basicsr_amsr.options.check import check
from basicsr_amsr.options.complete import complete_sections
from basicsr_amsr.options.mistakes import raise_problems
from basicsr_amsr.options.option_file import OptionFile
from basicsr_amsr.options.scale import give_scale
from basicsr_amsr.plugins import load_plugins
from basicsr_amsr.resources import resolve


def read_options(file: str, force_yml: Sequence[str], weights: bool = False) -> dict[str, Any]:
    """The options of a file for training or testing, of which a network is all that is needed.

    Args:
        file: a path, or the name of one of the project's own option files.
        force_yml: changes, KEY:KEY=VALUE.
        weights: `path: pretrain_network_g` is needed too, and the model that tests it.

    Raises:
        UserError: one line for each mistake.
    """
    path = str(resolve(file))
    source = OptionFile.read(path)
    source.options.pop('demo', None)
    source.force(force_yml)
    options = source.options
    load_plugins(options, path)
    problems = check(options, None)
    if weights:
        problems += list(absent_files({'path': options.get('path')}, is_train=False, demo_offered=False))
    raise_problems(problems, source.where)
    if weights and not (options.get('path') or {}).get('pretrain_network_g'):
        raise UserError(f'{file}: path: pretrain_network_g is missing: the weights of the network.')
    give_scale(options)
    return options


def named(files: list[str]) -> dict[str, str]:
    """Option files by a name for each: the file's, with its folder where two are the same."""
    stems = [Path(file).stem for file in files]
    found: dict[str, str] = {}
    for stem, file in zip(stems, files, strict=True):
        name = stem if stems.count(stem) == 1 else str(Path(file).with_suffix(''))
        if name in found:
            raise UserError(f'-opt: {file} is named twice.')
        found[name] = file
    return found


def restoring_model(options: dict[str, Any], device: torch.device) -> Any:
    """The BasicSR model of `read_options(…, weights=True)`: `feed_data({'lq': …})`, `test()`, `output`.

    Raises:
        UserError: the weights do not fit.
    """
    get_root_logger().setLevel(logging.ERROR)
    opt = {'name': 'network', 'model_type': 'SRModel', **options, 'datasets': {}, 'is_train': False, 'dist': False,
           'rank': 0, 'world_size': 1, 'num_gpu': int(device.type == 'cuda')}
    complete_sections(opt, is_train=False)
    return build_model(opt)


def choose_device(name: str | None) -> torch.device:
    """The device asked for, else a GPU where there is one; a UserError where it is missing."""
    if name == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch sees no GPU here; take --device cpu.')
    return torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
