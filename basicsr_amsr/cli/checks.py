"""Checks of the options before a run makes folders: names that exist, files that are there."""
from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import Registry

from basicsr_amsr.cli.options import Options
from basicsr_amsr.errors import UnknownName, UserError
from basicsr_amsr.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from basicsr_amsr.resources import resolve

ON_DISK = (None, 'disk', 'lmdb')


def check_names(opt: Options) -> None:
    """Every name that a registry has to know: model, networks, data sets, metrics.

    Raises:
        UserError: one line with the file, the key and the near names.
    """
    _check_name(opt, 'model_type', MODEL_REGISTRY)
    networks = [key for key in opt if key.startswith('network_')]
    if not networks:
        raise UserError(f"{opt.file}: 'network_g' is missing.")
    for key in networks:
        _check_name(_mapping(opt, key), 'type', ARCH_REGISTRY)
    for key in opt['datasets']:
        _check_name(_mapping(opt['datasets'], key), 'type', DATASET_REGISTRY)
    metrics = (opt.get('val') or {}).get('metrics')
    if metrics is not None:
        for key in _mapping(opt['val'], 'metrics'):
            _check_name(_mapping(metrics, key), 'type', METRIC_REGISTRY)


def _mapping(options: Options, key: str) -> Options:
    if not isinstance(options[key], Options):
        raise UserError(f"{options.file}: {options.place}'{key}' has to hold keys, such as {{type: …}}.")
    return options[key]


def _check_name(options: Options, key: str, registry: Registry) -> None:
    try:
        registry.get(options[key])
    except UnknownName as error:
        raise UserError(f'{options.file}: {options.place}{key}: {error}') from None


def check_files(opt: Options, demo_offered: bool) -> None:
    """Find the project's own files, and check that all are there: images, lists, weights, saved state.

    Raises:
        UserError: one line with the file, the key and what to do.
    """
    for dataset in opt['datasets'].values():
        absent = absent_files(dataset)
        if absent:
            key, path = absent[0]
            start = '; to start without them: --demo' if demo_offered else ''
            raise UserError(f'{opt.file}: {dataset.place}{key}: {path} does not exist. Put the images there or name '
                            f'their place, e.g. --force_yml {dataset.place.replace(": ", ":")}{key}=FOLDER{start}.')
    for key, value in opt['path'].items():
        if 'resume_state' in key or 'pretrain_network' in key:
            if value is None:
                continue
            opt['path'][key] = str(resolve(value))
            if not opt.get('auto_resume') and not Path(opt['path'][key]).is_file():
                raise UserError(f'{opt.file}: path: {key}: {value} does not exist.')


def absent_files(dataset: MutableMapping[str, Any]) -> list[tuple[str, str]]:
    """What a data set names that is not there, as (key, path); paths that are found are put in their place."""
    if (dataset.get('io_backend') or {}).get('type') not in ON_DISK:
        return []
    return list(_absent_files(dataset))


def _absent_files(dataset: MutableMapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in dataset.items():
        if not (key.startswith('dataroot') or key == 'meta_info_file') or value is None:
            continue
        several = isinstance(value, list)
        found = [resolve(path) for path in (value if several else [value])]
        yield from ((key, str(path)) for path in found if not path.exists())
        dataset[key] = [str(path) for path in found] if several else str(found[0])


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
        absent = absent_files(dataset)
        if absent:
            key, path = absent[0]
            lines[phase] = f'{dataset["name"]}: {path} does not exist ({dataset.place}{key})'
    if len(lines) == len(opt['datasets']):
        raise UserError(f'{opt.file}: no test set is there: {"; ".join(lines.values())}.')
    for phase, line in lines.items():
        del opt['datasets'][phase]
        if opt['rank'] == 0:
            print(f'basicsr: left out: {line}.', file=sys.stderr)
