"""Any dataset of BasicSR with `transforms:` of its own, applied to each item by the data workers."""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from basicsr_amsr.compat.workers import MendedDataset
from basicsr_amsr.errors import UserError
from basicsr_amsr.transforms.chain import SampleTransforms, build_sample_transforms


class TransformedDataset(MendedDataset):
    """A map-style dataset whose items go through transforms; all else is as in `dataset`.

    Draws follow Python's `random` of the process that loads the item.
    """

    def __init__(self, dataset: Dataset, transforms: SampleTransforms):
        super().__init__(dataset)
        self.transforms = transforms

    def __getitem__(self, index: Any) -> Any:
        return self.transforms(self.dataset[index])


def build_transformed_dataset(options: dict[str, Any], build: Callable[[dict[str, Any]], Dataset]) -> Dataset:
    """Build a dataset, and wrap it where its options name `transforms`.

    Args:
        options: of one dataset, with `transforms: [{type: SFM, target: lq, …}]` or without.
        build: BasicSR's `build_dataset`, or whatever builds the dataset from the other options.

    Raises:
        UserError: a transform cannot be built, or the dataset is not for training.
    """
    plain = copy.copy(options)
    phase = options.get('phase', 'train')
    place = f'datasets:{phase}:transforms'
    transforms = build_sample_transforms(plain.pop('transforms', None), place)
    if not transforms.steps:
        return build(plain)
    if phase != 'train':
        raise UserError(f'{place}: transforms are for training; to test on degraded images use DegradedPairDataset.')
    return TransformedDataset(build(plain), transforms)
