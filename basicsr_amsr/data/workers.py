"""Data workers that start afresh (Windows, macOS) mend BasicSR too, before they import it."""
from __future__ import annotations

import importlib
import multiprocessing
from types import ModuleType
from typing import Any

from basicsr.data import build_dataloader as _original
from torch.utils.data import DataLoader, Dataset, IterableDataset


class MendedDataset(Dataset):
    """A map-style dataset as it is; a process that unpickles it mends BasicSR before it makes the dataset."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __reduce__(self) -> tuple[Any, ...]:
        return _mended, (_Mend(), self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if 'dataset' not in self.__dict__:  # while copying
            raise AttributeError(name)
        return getattr(self.dataset, name)


class _Mend:
    """Unpickles to the module that mends BasicSR when it is imported."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ('basicsr_amsr.register',)


def _mended(_: ModuleType, dataset: Dataset) -> MendedDataset:
    return MendedDataset(dataset)


def workers_inherit_memory() -> bool:
    """Whether worker processes are forks of this one, with everything imported."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return method == 'fork'


def build_dataloader(dataset: Dataset, dataset_opt: dict[str, Any], *args: Any, **kwargs: Any) -> DataLoader:
    """BasicSR's `build_dataloader`, whose workers, where they start afresh, mend BasicSR before they use it."""
    if not workers_inherit_memory() and not isinstance(dataset, IterableDataset):
        dataset = MendedDataset(dataset)
    return _original(dataset, dataset_opt, *args, **kwargs)
