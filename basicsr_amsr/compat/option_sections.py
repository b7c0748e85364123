"""What BasicSR's pipelines expect in the options: checked, and given defaults where one is sensible."""
from __future__ import annotations

from os import path as osp
from typing import Any

from basicsr_amsr.errors import UserError

LOGGER = {'print_freq': 100, 'save_checkpoint_freq': 5000, 'use_tb_logger': False}
PHASES = {True: ('train', 'val'), False: ('val', 'test')}


def check_sections(opt: dict[str, Any], is_train: bool, opt_path: str) -> None:
    """Check the sections that `train_pipeline` and `test_pipeline` read, and set defaults in place.

    Raises:
        UserError: one line with the file and the key.
    """
    def fail(problem: str) -> None:
        raise UserError(f'Option file {opt_path}: {problem}')

    def section(key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        value = opt.get(key)
        if value is None and default is None:
            fail(f'`{key}:` is missing.')
        if value is None:
            value = opt[key] = {}
        if not isinstance(value, dict):
            fail(f'`{key}:` has to hold keys, not {value!r}.')
        for name, preset in (default or {}).items():
            value.setdefault(name, preset)
        return value

    for key in ('name', 'model_type'):
        if opt.get(key) in (None, ''):
            fail(f'`{key}:` is missing.')
    name = opt['name']
    if isinstance(name, (dict, list)) or str(name) in ('.', '..') or '/' in str(name) or '\\' in str(name):
        fail(f'`name: {name}` has to be the name of a folder, without / and \\.')
    opt['name'] = str(name)
    section('path', {})
    datasets = section('datasets')
    for key, dataset in datasets.items():
        phase = str(key).split('_')[0]
        if phase not in PHASES[is_train]:
            fail(f'`datasets: {key}:` is not a phase of {"training" if is_train else "testing"}; '
                 f'write {" or ".join(PHASES[is_train])}, also with _1, _2 ….')
        if not isinstance(dataset, dict):
            fail(f'`datasets: {key}:` has to hold keys, not {dataset!r}.')
        if not dataset.get('type'):
            fail(f'`datasets: {key}:` has no `type:` (a dataset class such as PairedImageDataset).')
        dataset.setdefault('name', str(key))
    if not is_train:
        section('val', {'save_img': False, 'suffix': None})
        return
    if 'train' not in datasets:
        fail('`datasets:` has no `train:`.')
    if section('train').get('total_iter') is None:
        fail('`train:` has no `total_iter:`.')
    section('logger', LOGGER)
    if opt.get('val') is not None:
        section('val', {'save_img': False, 'val_freq': LOGGER['save_checkpoint_freq']})


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
