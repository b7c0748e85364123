"""Fills in the options that BasicSR's pipelines expect and that have a sensible default."""
from __future__ import annotations

from os import path as osp
from typing import Any

from basicsr_amsr.options.section import Section
from basicsr_amsr.options.sections import Logger, Val


def complete_sections(opt: dict[str, Any], is_train: bool) -> None:
    """Set in place what the pipelines read and the file does not give; the defaults are those of the typed sections."""
    from basicsr_amsr.options.scale import give_scale  # looks at what is registered, which is not here yet

    give_scale(opt)
    opt['name'] = str(opt['name'])
    opt['path'] = opt.get('path') or {}
    if is_train:
        _complete(opt, 'logger', Logger, ('print_freq', 'save_checkpoint_freq', 'use_tb_logger'))
    if opt.get('val') is not None or not is_train:
        _complete(opt, 'val', Val, ('save_img', 'val_freq') if is_train else ('save_img', 'suffix'))
    for key, dataset in opt['datasets'].items():
        if dataset.get('name') is None:
            dataset['name'] = str(key)


def _complete(opt: dict[str, Any], key: str, section: type[Section], names: tuple[str, ...]) -> None:
    values = opt[key] = opt.get(key) or {}
    for name in names:
        if values.get(name) is None:
            values[name] = section.model_fields[name].default


def complete_datasets(opt: dict[str, Any]) -> None:
    """Give every dataset its phase, the scale, and folders with `~` expanded."""
    for key, dataset in opt['datasets'].items():
        dataset['phase'] = str(key).split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for root in ('dataroot_gt', 'dataroot_lq'):
            if isinstance(dataset.get(root), str):  # a list of folders is for the dataset to expand
                dataset[root] = osp.expanduser(dataset[root])


def complete_paths(opt: dict[str, Any], root_path: str, is_train: bool) -> None:
    """Set where experiments and results of this run go, under `root_path`."""
    paths = opt['path']
    for key, value in paths.items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            paths[key] = osp.expanduser(value)
    top = osp.join(root_path, 'experiments' if is_train else 'results', opt['name'])
    paths.update(log=top, visualization=osp.join(top, 'visualization'))
    if is_train:
        paths.update(experiments_root=top, models=osp.join(top, 'models'),
                     training_states=osp.join(top, 'training_states'))
    else:
        paths['results_root'] = top


def set_debug_intervals(opt: dict[str, Any]) -> None:
    """In a debug run, print every iteration, validate and save every eighth."""
    if opt.get('val') is not None:
        opt['val']['val_freq'] = 8
    opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
