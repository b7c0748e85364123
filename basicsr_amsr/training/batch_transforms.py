"""Transforms of whole batches on the training's device: `transforms:` under `train:`."""
from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from basicsr_amsr.training.order import Sample, SampleOrder
from basicsr_amsr.training.randomness import derive
from basicsr_amsr.transforms.base import seeded_generator
from basicsr_amsr.transforms.build_transforms import SampleTransforms

DRAWS = 1  # the place (epoch, number) itself seeds the data set's own draws


class TransformedBatches:
    """The batches of a loader, each transformed once, on the device, before the model gets it.

    A sample's draws follow from seed, epoch and its number alone, so they are the same for any number of processes, and
    after a resume.

    Args:
        loader: gives batches in the order of the run; each iteration over it is an epoch.
        order: the samples of these batches.
        size: samples of a batch, of this process.
        transforms: what to do.
        seed: of the run.
        device: where the training computes.
    """

    def __init__(self, loader: Any, order: SampleOrder, size: int, transforms: SampleTransforms, seed: int,
                 device: torch.device) -> None:
        self.loader, self.order, self.size = loader, order, size
        self.transforms, self.seed, self.device = transforms, seed, device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        samples = iter(self.order)
        for batch in self.loader:
            generators = [self._generator(sample) for sample in islice(samples, self.size)]
            yield self.transforms(batch, generators, self.device)

    def _generator(self, sample: Sample) -> torch.Generator:
        return seeded_generator(int(derive(self.seed, sample.epoch, sample.number, DRAWS).generate_state(1)[0]))
