"""Finds options that contradict one another, in a file whose sections are each right by themselves."""
from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from basicsr_amsr.errors import UserError
from basicsr_amsr.options import channels, schemas
from basicsr_amsr.options.mistakes import Place, Problem, prefix, value_at
from basicsr_amsr.options.source import constants


def conflicts(options: Mapping[str, Any], is_train: bool | None) -> Iterator[Problem]:
    """Everything of the kind.

    Args:
        options: of the whole file.
        is_train: training or testing; None where only the network is wanted.
    """
    if is_train is None:
        return
    yield from same_names(options)
    yield from other_channels(options)
    yield from without_truth(options)
    if is_train:
        yield from short_schedule(options)
        yield from absent_loggers(options)
        yield from uneven_queue(options)
        yield from other_discriminator(options)
        yield from without_kernels(options)


def same_names(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Two data sets of one name, whose results would be written over one another."""
    seen: dict[str, str] = {}
    for key, values in datasets(options):
        name = str(values.get('name') or key)
        if key.split('_')[0] == 'train':
            continue
        if name in seen:
            at: Place = ('datasets', key, 'name')
            yield Problem(at, f"datasets: {seen[name]} and {key} both have the name '{name}', so the results of one "
                              'would be written over those of the other: give each a name of its own.')
        seen.setdefault(name, key)


def without_truth(options: Mapping[str, Any]) -> Iterator[Problem]:
    """A metric against the ground truth of a data set that gives none."""
    wanted = [name for name, metric in (value_at(options, ('val', 'metrics')) or {}).items()
              if isinstance(metric, Mapping) and _compares(metric.get('type'))]
    for key, values in datasets(options):
        if key.split('_')[0] != 'train' and wanted and 'gt' not in _gives(values.get('type'), {'gt'}):
            yield Problem(('datasets', key, 'type'), f'datasets: {key}: {values["type"]} gives no ground truth to '
                          f'compare with, but val: metrics: asks for {", ".join(wanted)}: take a data set of pairs, '
                          'such as PairedImageDataset, or leave those metrics out.')


def other_channels(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Images of other channels than the network takes and makes."""
    network = options.get('network_g')
    if not isinstance(network, Mapping):
        return
    for keys, verb in ((channels.TAKEN, 'takes'), (channels.MADE, 'makes')):
        wanted = channels.of_network(network, keys)
        for key, values in datasets(options):
            given = channels.of_dataset(values)
            if None not in (wanted, given) and wanted != given:
                how = 'leave color out' if given == 1 else 'color: gray, or y for luma,'
                yield Problem(('datasets', key), f'datasets: {key}: {values["type"]} gives images of {given} channel'
                              f'{"s" * (given != 1)}, but the network {verb} {wanted}: {how} here, or set num_in_ch '
                              f'and num_out_ch: {given} under network_g.')
                return


def other_discriminator(options: Mapping[str, Any]) -> Iterator[Problem]:
    """A discriminator that is built for another size than that of the training's crops."""
    network = options.get('network_d')
    crop = value_at(options, ('datasets', 'train', 'gt_size'))
    if not isinstance(network, Mapping) or not isinstance(crop, int):
        return
    field = schemas.of_named('arch', schemas.find('arch', network.get('type'))).model_fields.get('input_size')
    size = network.get('input_size', field.default) if field is not None else None
    if isinstance(size, int) and size != crop:
        yield Problem(('network_d', 'input_size'), f'network_d: input_size is {size}, but gt_size is {crop}: make them '
                      'agree.')


def without_kernels(options: Mapping[str, Any]) -> Iterator[Problem]:
    """RealESRGAN's models with a data set that gives none of the kernels of which they make LR images."""
    model, name = options.get('model_type'), value_at(options, ('datasets', 'train', 'type'))
    try:
        wants = 'kernel1' in constants(schemas.find('model', model).feed_data)
    except (UserError, AttributeError, OSError, TypeError):
        return
    if wants and options.get('high_order_degradation', True) and 'kernel1' not in _gives(name, {'kernel1'}):
        yield Problem(('datasets', 'train', 'type'), f'datasets: train: {name} gives no blur kernels (kernel1 …), of '
                      f'which {model} makes LR images: take RealESRGANDataset, or write high_order_degradation: false '
                      'at the top level to train on pairs.')


def short_schedule(options: Mapping[str, Any]) -> Iterator[Problem]:
    """A scheduler whose periods end before the training."""
    total = value_at(options, ('train', 'total_iter'))
    periods = value_at(options, ('train', 'scheduler', 'periods'))
    if isinstance(periods, list) and isinstance(total, (int, float)) and sum(periods) < total:
        at = ('train', 'scheduler', 'periods')
        yield Problem(at, f'{prefix(at)}the periods add up to {sum(periods)} iterations, but total_iter is {total}: '
                          'make them reach it.')
    for key, weights in (('periods', 'restart_weights'), ('restarts', 'restart_weights')):
        given = value_at(options, ('train', 'scheduler')) or {}
        if key in given and len(given[key]) != len(given.get(weights) or [1]):
            yield Problem(('train', 'scheduler', weights), f'train: scheduler: {key} has {len(given[key])} values, '
                          f'{weights} {len(given.get(weights) or [1])}: give as many.')


def absent_loggers(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Weights & Biases or TensorBoard, which are not installed."""
    logger = options.get('logger') or {}
    wandb = (logger.get('wandb') or {}).get('project') is not None
    for key, package, wanted in (('wandb', 'wandb', wandb),
                                 ('use_tb_logger', 'tensorboard', logger.get('use_tb_logger'))):
        if wanted and importlib.util.find_spec(package) is None:
            yield Problem(('logger', key), f"logger: {key}: the package '{package}' is not installed: pip install "
                          f'{package}, or leave {key} out.')
    if wandb and not logger.get('use_tb_logger'):
        yield Problem(('logger', 'wandb'), 'logger: wandb needs use_tb_logger: true beside it.')


def uneven_queue(options: Mapping[str, Any]) -> Iterator[Problem]:
    """RealESRGAN's pool of pairs, which takes whole batches."""
    queue, batch = options.get('queue_size'), value_at(options, ('datasets', 'train', 'batch_size_per_gpu'))
    if isinstance(queue, int) and isinstance(batch, int) and queue % batch:
        yield Problem(('queue_size',), f'queue_size {queue} is no multiple of batch_size_per_gpu {batch}; '
                      f'{queue // batch * batch or batch} is.')


def datasets(options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The data sets with their keys."""
    given = options.get('datasets')
    for key, values in given.items() if isinstance(given, Mapping) else ():
        if isinstance(values, Mapping):
            yield str(key), values


def _compares(metric: Any) -> bool:
    """Whether a metric needs a second image."""
    try:
        parameter = inspect.signature(schemas.find('metric', metric)).parameters.get('img2')
    except (UserError, TypeError, ValueError):
        return False
    return parameter is not None and parameter.default is parameter.empty


def _gives(dataset: Any, others: set[str]) -> set[str]:
    """Keys of the items of one of BasicSR's data sets; `others` of another one."""
    try:
        read = schemas.find('dataset', dataset).__getitem__
        return constants(read) if read.__module__.startswith('basicsr.') else others
    except (UserError, AttributeError, OSError):
        return others
