"""Any dataset of BasicSR with `transforms:` of its own, applied to each item by the data workers."""
from __future__ import annotations

import copy
from typing import Any

from torch.utils.data import Dataset

from basicsr_amsr.data.workers import MendedDataset
from basicsr_amsr.transforms.build_transforms import SampleTransforms, build_sample_transforms

KEY = 'transforms'


class TransformedDataset(MendedDataset):
    """A map-style dataset whose items go through transforms; all else is as in `dataset`.

    Draws follow Python's `random` of the process that loads the item.
    """

    def __init__(self, dataset: Dataset, transforms: SampleTransforms):
        super().__init__(dataset)
        self.transforms = transforms

    def __getitem__(self, index: Any) -> Any:
        return self.transforms(self.dataset[index])


def take_transforms(options: dict[str, Any]) -> tuple[dict[str, Any], SampleTransforms]:
    """The options of a training set without its `transforms: [{type: SFM, target: lq, …}]`, and these.

    Raises:
        UserError: a transform cannot be built.
    """
    plain = copy.copy(options)
    return plain, build_sample_transforms(plain.pop(KEY, None), f'datasets:train:{KEY}')
