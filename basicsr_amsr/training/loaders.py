"""Data loaders for BasicSR's train_pipeline that go on inside an epoch and draw the same samples every time."""
from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import basicsr.train as pipeline
import torch
from torch.utils.data import DataLoader, IterableDataset

from basicsr_amsr.compat.devices import training_device
from basicsr_amsr.data.transformed import TransformedDataset, take_transforms
from basicsr_amsr.errors import UserError
from basicsr_amsr.training.batch_transforms import TransformedBatches
from basicsr_amsr.training.epochs import Epochs
from basicsr_amsr.training.memory import load_into_memory
from basicsr_amsr.training.order import SampleOrder
from basicsr_amsr.training.seeded import SeededDataset
from basicsr_amsr.transforms.build_transforms import build_sample_transforms


class TrainLoader(DataLoader):
    """A loader that starts its workers with the first batch, not when BasicSR's prefetchers ask for an iterator and
    throw it away."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.sampler:
            yield from super().__iter__()


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple[Any, ...]:
    """BasicSR's `create_train_val_dataloader`: same results, with `SampleOrder` and `SeededDataset` for training.

    Leaves in `opt['epochs']` how epochs follow each other, for the saved states.

    Returns:
        Loader and sampler for training, loaders for validation, number of epochs, number of iterations.

    Raises:
        UserError: the data set is empty, iterable, or smaller than one joint batch.
    """
    val_loaders = []
    for phase, dataset_opt in opt['datasets'].items():
        # build_dataset is looked up in BasicSR's module at each call: others may listen there.
        if phase == 'train':
            train_loader, order = create_train_loader(opt, dataset_opt, logger)
        else:
            dataset = pipeline.build_dataset(dataset_opt)
            val_loaders.append(pipeline.build_dataloader(dataset, dataset_opt, num_gpu=opt['num_gpu'], dist=opt['dist'],
                                                         sampler=None, seed=opt['manual_seed']))
            logger.info(f'Number of val images/folders in {dataset_opt["name"]}: {len(dataset)}')
    return train_loader, order, val_loaders, order.epochs.count, order.epochs.total_iters


def create_train_loader(opt: dict[str, Any], options: dict[str, Any],
                        logger: logging.Logger) -> tuple[Any, SampleOrder]:
    """The training's loader and its order of samples; `options` are those of the data set."""
    dataset_opt, transforms = take_transforms(options)
    dataset = pipeline.build_dataset(dataset_opt)
    if isinstance(dataset, IterableDataset):
        raise UserError(f'datasets: train: {dataset_opt["type"]} is an IterableDataset; samples are drawn by number.')
    devices = 1 if opt['dist'] else max(opt['num_gpu'], 1)  # several GPUs in one process share a batch
    batch = dataset_opt['batch_size_per_gpu'] * devices
    ratio = dataset_opt.get('dataset_enlarge_ratio', 1)
    samples = math.floor(len(dataset) * ratio)
    if samples < batch * opt['world_size']:
        raise UserError(
            f'datasets: train: {dataset_opt["name"]} has {len(dataset)} images, times dataset_enlarge_ratio {ratio} '
            f'that is less than one batch of {batch * opt["world_size"]} (batch_size_per_gpu on '
            f'{opt["world_size"] * devices} device(s)): raise dataset_enlarge_ratio or lower batch_size_per_gpu.')
    epochs = opt['epochs'] = plan_epochs(opt, samples, batch * opt['world_size'], logger)
    order = SampleOrder(len(dataset), epochs, opt['manual_seed'], opt['rank'], opt['world_size'])
    logger.info(f'Training on {len(dataset):,d} images, times dataset_enlarge_ratio {ratio}; batch {batch} in each of '
                f'{opt["world_size"]} process(es), {epochs.per_epoch:,d} iterations in an epoch; '
                f'epochs: {epochs.count:,d}, iters: {epochs.total_iters:,d}.')
    seed = opt['manual_seed']
    loader: Any
    if dataset_opt.get('memory'):
        loader = load_into_memory(opt, SeededDataset(dataset, seed), transforms, dataset_opt, order, batch, logger)
    else:
        seeded = SeededDataset(TransformedDataset(dataset, transforms) if transforms.steps else dataset, seed)
        loader = build_train_loader(seeded, dataset_opt, order, batch, dataset_opt['num_worker_per_gpu'] * devices)
    on_device = build_sample_transforms(opt['train'].get('transforms'), 'train:transforms')
    if on_device.steps:
        loader = TransformedBatches(loader, order, batch, on_device, seed, training_device(opt))
    return loader, order


def build_train_loader(dataset: SeededDataset, dataset_opt: Mapping[str, Any], order: SampleOrder, batch: int,
                       workers: int) -> Any:
    """An iterable of batches in that order, as the data set's options want it.

    BasicSR's `prefetch_mode: cpu` is a thread beside the training, which would hang where a sample fails and share the
    training's random numbers; here the workers keep `num_prefetch_queue` batches more ready instead.
    """
    more: dict[str, Any] = {}
    if workers:
        queue = dataset_opt.get('num_prefetch_queue', 1) if dataset_opt.get('prefetch_mode') == 'cpu' else 0
        more = {'prefetch_factor': 2 + math.ceil(queue / workers),
                'persistent_workers': dataset_opt.get('persistent_workers', False)}
    # A generator of its own: making an iterator draws a number, which must not be one of the training's.
    return TrainLoader(dataset, batch_size=batch, sampler=order, drop_last=True, num_workers=workers,
                       pin_memory=dataset_opt.get('pin_memory', False), generator=torch.Generator(), **more)


def plan_epochs(opt: Mapping[str, Any], samples: int, joint_batch: int, logger: logging.Logger) -> Epochs:
    """Epochs of this run; of a resumed one from the very sample on where the saved one stood.

    With another joint batch the epoch goes on with the first sample that is not done; with another seed or length of
    the data set, whose order is another one, it starts anew. One line says so.
    """
    total = int(opt['train']['total_iter'])
    saved = opt.get('resumed')
    if not saved:
        return Epochs(samples, joint_batch, total)
    start = (saved['iter'], saved['epoch'])
    if 'position' not in saved:
        logger.warning('The state was saved without the place in the epoch: the epoch starts anew.')
        return Epochs(samples, joint_batch, total, *start)
    now = {'manual_seed': opt['manual_seed'], 'samples in an epoch': samples, 'joint batch': joint_batch}
    before = dict(zip(now, (saved['seed'], saved['samples'], saved['joint_batch']), strict=True))
    changes = [f'{name} was {before[name]} and is {now[name]}' for name in now if now[name] != before[name]]
    same_order = saved['seed'] == opt['manual_seed'] and saved['samples'] == samples
    if changes:
        how = 'goes on with its other samples' if same_order else 'starts anew'
        logger.warning(f'Resumed with other data: {", ".join(changes)}. The epoch {how}.')
    return Epochs(samples, joint_batch, total, *start, saved['position'] if same_order else 0)
