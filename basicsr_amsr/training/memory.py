"""Training from decoded images in memory: `memory: host` or `memory: device` of the training set."""
from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch

from basicsr_amsr.compat.devices import training_device
from basicsr_amsr.errors import UserError
from basicsr_amsr.training.image_store import ImageStore, draw_crop
from basicsr_amsr.training.order import Sample, SampleOrder
from basicsr_amsr.training.randomness import python_random
from basicsr_amsr.training.seeded import SeededDataset
from basicsr_amsr.training.whole_images import KEY, Pair, read_pairs
from basicsr_amsr.transforms.base import drawn_generator
from basicsr_amsr.transforms.build_transforms import SampleTransforms

PLACES = ('host', 'device')
AHEAD = 2  # batches that are ready before they are asked for
CHECKED = 4  # samples that are compared with the data set's own
EQUAL = 1e-6  # luma of a crop and crop of the luma may differ in the last bit


class PairedCrops:
    """The crops of a paired training set, drawn per sample as BasicSR's paired data sets draw them.

    Args:
        pairs: whole images; emptied on the way.
        options: of the training set: scale, gt_size, use_hflip, use_rot.
        seed: of the run.
        device: where the images are kept.

    Attributes:
        transforms: of the training set, none at first; done there to whole batches, with the draws of data workers.

    Raises:
        UserError: the images of a pair do not fit each other, or are smaller than a crop.
    """

    def __init__(self, pairs: list[Pair], options: Mapping[str, Any], seed: int, device: torch.device) -> None:
        self.scale, self.gt_size, self.seed = int(options.get('scale', 1)), int(options['gt_size']), seed
        self.hflip, self.rotation = bool(options.get('use_hflip')), bool(options.get('use_rot'))
        self.side = self.gt_size // self.scale
        if self.side * self.scale != self.gt_size or not self.side:
            raise UserError(f'datasets: train: gt_size {self.gt_size} is no multiple of scale {self.scale}.')
        for pair in pairs:
            self._check(pair, pairs[0])
        self.paths = [(pair.lq_path, pair.gt_path) for pair in pairs]
        lq, gt = [pair.lq for pair in pairs], [pair.gt for pair in pairs]
        pairs.clear()
        self.lq, self.gt = ImageStore(lq, device), ImageStore(gt, device)
        self.transforms = SampleTransforms([])

    def _check(self, pair: Pair, first: Pair) -> None:
        (height, width, channels), (gt_height, gt_width, gt_channels) = pair.lq.shape, pair.gt.shape
        if (gt_height, gt_width) != (height * self.scale, width * self.scale):
            raise UserError(f"datasets: train: '{pair.gt_path}' is {gt_height}x{gt_width}, which is not {self.scale} "
                            f"times '{pair.lq_path}' of {height}x{width}.")
        if min(height, width) < self.side:
            raise UserError(f"datasets: train: image '{pair.gt_path}' is {gt_height}x{gt_width}, smaller than gt_size "
                            f'{self.gt_size}; remove it or lower gt_size.')
        if (channels, gt_channels) != (first.lq.shape[2], first.gt.shape[2]):
            raise UserError(f"{KEY}: '{pair.gt_path}' has another number of channels than '{first.gt_path}'.")

    def batch(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The batch that BasicSR's DataLoader collates of these samples, on the images' device."""
        draws = [python_random(self.seed, sample.epoch, sample.number) for sample in samples]
        crops = [draw_crop(rng, sample.image, self.lq.sizes[sample.image], self.side, self.hflip, self.rotation)
                 for rng, sample in zip(draws, samples, strict=True)]
        paths = [self.paths[sample.image] for sample in samples]
        batch = {'lq': self.lq.crops(crops), 'gt': self.gt.crops([crop.times(self.scale) for crop in crops]),
                 'lq_path': [lq for lq, _ in paths], 'gt_path': [gt for _, gt in paths]}
        return self.transforms(batch, [drawn_generator(rng) for rng in draws]) if self.transforms.steps else batch


class MemoryLoader:
    """Batches of `PairedCrops` in the order of the run; what BasicSR's prefetchers take for a loader.

    Where the images are kept in the host's memory, a thread makes batches ahead and, for a training on a GPU, sends
    them there beside the training. Where they are kept on the GPU, it cuts the crops itself, in the training's queue.

    Args:
        crops: the images.
        order: which samples come when.
        batch: samples of a batch, of this process.
        device: where the training wants its batches.
    """

    def __init__(self, crops: PairedCrops, order: SampleOrder, batch: int, device: torch.device) -> None:
        self.crops, self.order, self.size, self.device = crops, order, batch, device
        self.stream = torch.cuda.Stream(device) if device.type == 'cuda' else None

    def __len__(self) -> int:
        return len(self.order) // self.size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The epoch's batches; nothing begins before the first one is asked for."""
        if self.crops.lq.pixels.device.type == 'cuda':
            yield from map(self.crops.batch, self._batches())
            return
        with ThreadPoolExecutor(1, 'batches') as thread:
            ready: deque[Future] = deque()
            try:
                for samples in self._batches():
                    ready.append(thread.submit(self._make, samples))
                    if len(ready) > AHEAD:
                        yield self._hand_over(*ready.popleft().result())
                while ready:
                    yield self._hand_over(*ready.popleft().result())
            finally:
                for future in ready:
                    future.cancel()

    def _batches(self) -> Iterator[list[Sample]]:
        samples = iter(self.order)
        while len(batch := list(islice(samples, self.size))) == self.size:
            yield batch

    def _make(self, samples: Sequence[Sample]) -> tuple[dict[str, Any], torch.cuda.Event | None]:
        """A batch, and on CUDA the event of its arrival."""
        batch = self.crops.batch(samples)
        if self.stream is None:
            return batch, None
        with torch.cuda.stream(self.stream):
            for key in ('lq', 'gt'):
                batch[key] = batch[key].pin_memory().to(self.device, non_blocking=True)
            return batch, self.stream.record_event()

    def _hand_over(self, batch: dict[str, Any], arrived: torch.cuda.Event | None) -> dict[str, Any]:
        """Let the training's queue wait for the batch, and keep its memory until that queue has used it."""
        if arrived is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(arrived)
            for key in ('lq', 'gt'):
                batch[key].record_stream(current)
        return batch


def load_into_memory(opt: Mapping[str, Any], dataset: SeededDataset, transforms: SampleTransforms,
                     dataset_opt: Mapping[str, Any], order: SampleOrder, batch: int,
                     logger: logging.Logger) -> MemoryLoader:
    """Read the training set whole, and give its batches from memory.

    Args:
        opt: all options.
        dataset: the training set as it is drawn from otherwise, without its transforms.
        transforms: those.
        dataset_opt: its other options.
        order: which samples come when.
        batch: samples of a batch, of this process.
        logger: gets lines about progress.

    Raises:
        UserError: the option has another value, the data set is not one that crops, flips and rotates pairs, or its
            images do not fit into memory.
    """
    place = dataset_opt['memory']
    if place not in PLACES:
        raise UserError(f"{KEY} is '{place}'; it can be {', '.join(PLACES)} or ~.")
    if not dataset_opt.get('gt_size'):
        raise UserError('datasets: train: gt_size is missing; set the side of a training crop in HR pixels.')
    device = training_device(opt)
    store = device if place == 'device' else torch.device('cpu')
    pairs = read_pairs(dataset_opt, logger, store)
    crops = PairedCrops(pairs, dataset_opt, opt['manual_seed'], store)
    check_crops(crops, dataset, dataset_opt['type'])
    crops.transforms = transforms
    logger.info(f'Training from memory ({place}): LR as {crops.lq.pixels.dtype}, HR as {crops.gt.pixels.dtype}.')
    return MemoryLoader(crops, order, batch, device)


def check_crops(crops: PairedCrops, dataset: SeededDataset, name: str) -> None:
    """Compare some samples with those that the data set draws itself in phase train.

    Raises:
        UserError: they differ: the data set does something else in training.
    """
    count = min(CHECKED, len(dataset))
    for number in range(count):
        sample = Sample(number * len(dataset) // count, 0, number)
        ours, theirs = crops.batch([sample]), dataset[sample]
        for key in ('lq', 'gt'):
            image = ours[key][0].cpu()
            if image.shape != theirs[key].shape or not torch.allclose(image, theirs[key], rtol=0, atol=EQUAL):
                raise UserError(f'{KEY}: {name} does more to a training pair than crop, flip and rotate it, so whole '
                                'pairs cannot stand for it; set memory: ~.')
