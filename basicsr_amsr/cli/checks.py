"""Checks of a run before it makes folders: files that are there, something that a test leaves behind."""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from basicsr_amsr.cli.options import Options
from basicsr_amsr.errors import UserError, nearest
from basicsr_amsr.options.mistakes import Place, Problem, prefix, shown
from basicsr_amsr.resources import resolve, roots
from basicsr_amsr.weights.cards import find_weights, locate

ON_DISK = (None, 'disk', 'lmdb')
LISTS = ('meta_info_file', 'meta_info')


def absent_files(opt: Mapping[str, Any], is_train: bool, demo_offered: bool) -> Iterator[Problem]:
    """Images, lists, weights and saved states that the options name and that are not there.

    The project's own files are found from any folder: their paths are put in the place of those that were given.
    """
    datasets = opt.get('datasets')
    for name, dataset in datasets.items() if is_train and isinstance(datasets, dict) else ():
        start = '; to start without them: --demo' if demo_offered else ''
        for key, path in absent_images(dataset):
            at: Place = ('datasets', str(name), key)
            put, place = (('Put the list there or name its', 'FILE') if key in LISTS else
                          ('Put the images there or name their', 'FOLDER'))
            yield Problem(at, f'{shown(at)}: {path} does not exist. {near_path(path)}{put} place, e.g. --force_yml '
                              f'{":".join(map(str, at))}={place}{start}.')
    paths = opt.get('path')
    paths = paths if isinstance(paths, dict) else {}
    for key, value in paths.items():
        if not isinstance(value, str):
            continue
        if str(key).startswith('pretrain_network_backbone'):
            try:
                paths[key] = str(find_weights(value))
            except UserError as error:
                yield Problem(('path', key), f'path: {key}: {error}')
        elif str(key).startswith(('resume_state', 'pretrain_network')):
            file = (locate(value) if str(key).startswith('pretrain') else None) or resolve(value)
            paths[key] = str(file)
            if not opt.get('auto_resume') and not file.is_file():
                without = ', or write ~ to start without it' if is_train else ''
                yield Problem(('path', key), f'path: {key}: {value} does not exist. {near_path(Path(value))}'
                                             f'Name the file{without}.')


def absent_images(dataset: Any) -> list[tuple[str, Path]]:
    """Files and folders that a data set names and that do not exist, as (key, path).

    Paths that exist are put in the place of those that were given.
    """
    if not isinstance(dataset, dict):
        return []
    backend = dataset.get('io_backend')
    if (backend.get('type') if isinstance(backend, dict) else backend) not in ON_DISK:
        return []
    return list(_absent_images(dataset))


def _absent_images(dataset: MutableMapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for key, value in dataset.items():
        several = isinstance(value, list)
        given = value if several else [value]
        if not (str(key).startswith('dataroot') or key in LISTS) or not all(isinstance(path, str) for path in given):
            continue
        found = [resolve(path) for path in given]
        yield from ((key, path) for path in found if not path.exists())
        dataset[key] = [str(path) for path in found] if several else str(found[0])


def near_path(path: Path) -> str:
    """'Did you mean FOLDER/NAME? ' where the folder that is there, or the project's own, holds a similar name."""
    missing = path
    while not resolve(missing.parent).exists():
        missing = missing.parent
    own = [root / missing.parent for root in roots() if missing.parent != Path()]
    for folder in (missing.parent, *own):
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        near = nearest(missing.name, names, count=1)
        if near:
            return f'Did you mean {missing.parent / near[0]}? '
    return ''


def check_purpose(opt: Options) -> None:
    """A test has to leave something behind.

    Raises:
        UserError: neither images nor metrics are asked for.
    """
    if not opt['val'].get('save_img') and not opt['val'].get('metrics'):
        raise UserError(f'{opt.file}: val: asks for nothing; set save_img: true, or metrics: '
                        '{psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: true}}.')


def leave_out_absent_sets(opt: Options) -> None:
    """Take test sets whose images are not there out of the options, with one line each.

    Raises:
        UserError: none is left.
    """
    lines = {}
    for phase, dataset in opt['datasets'].items():
        absent = absent_images(dataset)
        if absent:
            key, path = absent[0]
            place = prefix(('datasets', phase, key)).removesuffix(': ')
            lines[phase] = f'{dataset["name"]}: {path} does not exist ({place}). {near_path(path)}'.rstrip(' .')
    if len(lines) == len(opt['datasets']):
        raise UserError(f'{opt.file}: no test set is there: {_ended("; ".join(lines.values()))}')
    for phase, line in lines.items():
        del opt['datasets'][phase]
        if opt['rank'] == 0:
            print(f'basicsr: left out: {_ended(line)}', file=sys.stderr)


def _ended(line: str) -> str:
    return line if line.endswith('?') else f'{line}.'
