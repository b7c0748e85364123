"""A data set whose crops and flips depend on seed, epoch and sample alone, whatever draws them."""
from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from basicsr_amsr.training.order import Sample
from basicsr_amsr.training.randomness import drawn_from


class SeededDataset(Dataset):
    """A map-style data set that draws each sample from a seed of its own.

    Equal for any number of workers and processes, and the process' random state stays as it is where the main process
    draws. Other attributes are those of the data set inside. Unpickling (in a worker that starts afresh) imports this
    package before BasicSR and so mends it there too.

    Args:
        dataset: takes a number, and may use the generators of Python, NumPy and torch's CPU. A generator of its own
            that it makes and keeps is not seeded.
        seed: of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: Sample) -> Any:
        with drawn_from(self.seed, sample.epoch, sample.number):
            return self.dataset[sample.image]

    def __getattr__(self, name: str) -> Any:
        # Not the special ones: pickle asks before there is a data set, and __getitems__ would draw without seeds.
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)
