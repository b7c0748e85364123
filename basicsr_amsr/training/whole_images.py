"""Reading every pair of a data set whole, once, before training."""
from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import basicsr.train as pipeline
import torch
from torch.utils.data import DataLoader, Dataset

from basicsr_amsr.data.items import ItemError
from basicsr_amsr.errors import UserError
from basicsr_amsr.training.image_store import kept_as

KEY = 'datasets: train: memory'
IMAGES = ('lq', 'gt')
PATHS = ('lq_path', 'gt_path')
ROOM = 0.9  # share of the free memory that images may take
FIRST = 8  # pairs after which the others' size is estimated
EVERY = 10.0  # seconds between two lines about progress
MEMINFO = Path('/proc/meminfo')
CGROUP = Path('/sys/fs/cgroup')


class Pair(NamedTuple):
    """LR and HR image of a pair, (H, W, C): uint8 where float32 values are exactly 8-bit ones over 255."""

    lq: torch.Tensor
    gt: torch.Tensor
    lq_path: str
    gt_path: str


class WholeImages(Dataset):
    """The pairs of a BasicSR data set, read in phase val, where nothing is cropped."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Pair:
        try:
            item = self.dataset[index]
        except ItemError as error:
            raise UserError(f'{KEY}: {type(self.dataset).__name__} cannot read pair {index} whole, as in phase val: '
                            f'{error}') from error
        name = type(self.dataset).__name__
        if not isinstance(item, Mapping) or set(item) != {*IMAGES, *PATHS}:
            gives = ', '.join(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
            raise UserError(f'{KEY}: only items of lq, gt, lq_path and gt_path can be kept in memory, and {name} gives '
                            f'{gives}; set memory: ~.')
        if any(item[key].dim() != 3 for key in IMAGES):
            raise UserError(f'{KEY}: only images (C, H, W) can be kept in memory, not those of {name}; set memory: ~.')
        return Pair(compact(item['lq']), compact(item['gt']), item['lq_path'], item['gt_path'])


def compact(image: torch.Tensor) -> torch.Tensor:
    """(C, H, W) float32 as (H, W, C), in uint8 where dividing that by 255 gives the same to the bit."""
    image = image.permute(1, 2, 0).contiguous()
    rounded = (image * 255).round_().clamp_(0, 255).to(torch.uint8)
    return rounded if torch.equal(rounded.float().div_(255), image) else image


def read_pairs(dataset_opt: Mapping[str, Any], logger: logging.Logger, device: torch.device | None) -> list[Pair]:
    """Every pair of the data set, in its order, by `num_worker_per_gpu` workers, with lines about progress.

    Args:
        dataset_opt: the options of the training set.
        logger: gets the lines.
        device: where the pairs will be kept; None for the host's memory.

    Raises:
        UserError: the data set has no pairs to keep, or they do not fit into the free memory.
    """
    whole = pipeline.build_dataset({key: value for key, value in dataset_opt.items() if key != 'memory'}
                                   | {'phase': 'val'})
    loader = DataLoader(WholeImages(whole), batch_size=None, num_workers=dataset_opt['num_worker_per_gpu'],
                        generator=torch.Generator())
    pairs: list[Pair] = []
    size, count, last = 0, len(loader), time.monotonic()
    for pair in loader:
        # A copy: what a worker sends is shared memory, of which there is little, and a file handle each.
        pairs.append(pair._replace(lq=pair.lq.clone(), gt=pair.gt.clone()))
        size += pair.lq.nbytes + pair.gt.nbytes
        if len(pairs) >= min(FIRST, count):
            check_room(size, size * count // len(pairs), count, device)
        if time.monotonic() > last + EVERY or len(pairs) == count:
            last = time.monotonic()
            logger.info(f'In memory: {len(pairs):,d} of {count:,d} pairs, {gib(size)}.')
    images = [pair.lq for pair in pairs], [pair.gt for pair in pairs]
    kept = sum(image.numel() * kept_as(kind).itemsize for kind in images for image in kind)
    check_room(size, kept, count, device)
    return pairs


def check_room(read: int, expected: int, count: int, device: torch.device | None) -> None:
    """Refuse what will not fit, in bytes: `read` ones are taken, `expected` is the whole.

    Raises:
        UserError: one line with sizes and what to do.
    """
    free = free_host_memory()
    if free is not None and expected - read > ROOM * free:
        raise UserError(f'{KEY}: {count:,d} pairs need about {gib(expected)}, and with {gib(read)} of them read '
                        f'{gib(free)} of memory are free; use fewer or smaller images, or memory: ~.')
    if device is not None and device.type == 'cuda':
        free = torch.cuda.mem_get_info(device)[0]
        if expected > ROOM * free:
            raise UserError(f'{KEY}: {count:,d} pairs need about {gib(expected)}, and the GPU has {gib(free)} free; '
                            'use memory: host.')


def free_host_memory() -> int | None:
    """Bytes that this machine, or the container this process is in, can still give; None where it is not known."""
    try:
        lines = MEMINFO.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable:'))
    except (OSError, StopIteration):
        return None
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ('memory.max', 'memory.current'))
        return free if limit == 'max' else max(0, min(free, int(limit) - int(used)))
    except OSError:
        return free


def gib(size: float) -> str:
    """'1.23 GiB'."""
    return f'{size / 2**30:.2f} GiB'
