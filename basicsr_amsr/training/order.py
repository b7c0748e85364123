"""Which sample comes when: a function of seed, epoch and place in the epoch, for any number of processes."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from basicsr_amsr.training.epochs import Epochs
from basicsr_amsr.training.randomness import derive


class Sample(NamedTuple):
    """A sample to draw: `image` of the data set, as sample `number` of the enlarged data set in an epoch."""

    image: int
    epoch: int
    number: int


class SampleOrder(Sampler[Sample]):
    """A permutation of the enlarged data set per epoch, in whole joint batches, of which each process takes its part.

    All processes together draw in iteration i exactly the joint batch that one process of that batch size draws in it.
    BasicSR's `EnlargedSampler` shuffles differently for another number of processes, fills up with repeated samples,
    and cannot start inside an epoch.

    Args:
        images: images of the data set.
        epochs: how epochs follow each other.
        seed: of the run.
        rank, world_size: of this process.

    Attributes:
        epoch: set by `set_epoch`. None before: there is nothing to draw yet, because BasicSR's prefetchers make an
            iterator before they say which epoch it is for.
    """

    def __init__(self, images: int, epochs: Epochs, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.images, self.epochs, self.seed = images, epochs, seed
        self.batch = epochs.joint_batch // world_size
        self.offset = rank * self.batch
        self.epoch: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return 0 if self.epoch is None else self.epochs.batches(self.epoch) * self.batch

    def __iter__(self) -> Iterator[Sample]:
        if self.epoch is None:
            return
        seed = int(derive(self.seed, self.epoch).generate_state(1, 'uint64')[0])
        numbers = torch.randperm(self.epochs.samples, generator=torch.Generator().manual_seed(seed)).tolist()
        first = self.epochs.skipped(self.epoch) + self.offset
        for batch in range(self.epochs.batches(self.epoch)):
            begin = first + batch * self.epochs.joint_batch
            for number in numbers[begin:begin + self.batch]:
                yield Sample(number % self.images, self.epoch, number)
