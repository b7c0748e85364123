"""Items of a data set that cannot be made get a line that names their files; so do test images, before a run."""
from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from basicsr.data import build_dataset as _build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset

from basicsr_amsr.compat.construction import what
from basicsr_amsr.data.image_io import image_size, read_image
from basicsr_amsr.errors import UserError
from basicsr_amsr.reasons import OURS, building, origin, reason

Size = tuple[int, int]


class ItemError(UserError):
    """A data set does not make an item, though its files, if it has any, can be read."""


def build_dataset(dataset_opt: dict[str, Any]) -> Any:
    """BasicSR's `build_dataset`; a UserError where the data set, or later an item, cannot be built."""
    with building(what(dataset_opt, 'datasets: '), {}):
        dataset = _build_dataset(dataset_opt)
    naming_files(type(dataset))
    return dataset


def naming_files(cls: Any) -> None:
    """Let whatever a data set's class raises for an item be a UserError that names the files; twice changes nothing."""
    read = cls.__getitem__
    if getattr(read, 'names_files', False):
        return

    @functools.wraps(read)
    def getitem(self: Any, index: Any) -> Any:
        try:
            return read(self, index)
        except UserError:
            raise
        except Exception as error:
            found = origin(error)
            if found is not None and found[0].startswith(OURS):
                raise
            raise unreadable(self, index, error) from error

    getitem.names_files = True  # type: ignore[attr-defined]
    cls.__getitem__ = getitem


def unreadable(dataset: Any, index: Any, error: Exception) -> UserError:
    """What is wrong with the files of an item: one that cannot be decoded, two of sizes that do not fit."""
    place = getattr(getattr(dataset, 'opt', None), 'place', '')
    files = files_of(dataset, index)
    for file in files.values():
        try:
            read_image(file, gray=None, alpha='drop')
        except UserError as broken:
            return UserError(f'{place}{broken}')
    other = _other_sizes(files, _scale(dataset), exact=True)
    if other:
        return UserError(f'{place}{other}')
    key = _entry(dataset, index)
    named = ' and '.join(files.values()) or (f"'{key}' of the LMDB" if key else f'item {index}')
    missing = isinstance(error, (AttributeError, TypeError)) and "'NoneType'" in str(error)
    why = 'it is not there or cannot be decoded' if missing else reason(error)
    return ItemError(f'{place}{named}: {why}.')


def files_of(dataset: Any, index: Any) -> dict[str, str]:
    """The files of an item, {'lq_path': …, 'gt_path': …}; empty for an LMDB and for data sets that do not tell."""
    try:
        entry = dataset.paths[index]
    except Exception:  # whatever a foreign class makes of it
        return {}
    files = entry if isinstance(entry, Mapping) else {'path': entry}
    return {key: str(file) for key, file in files.items() if isinstance(file, (str, Path)) and Path(file).suffix}


def _entry(dataset: Any, index: Any) -> str:
    try:
        entry = dataset.paths[index]
        return str(next(iter(entry.values())) if isinstance(entry, Mapping) else entry)
    except Exception:  # as above
        return ''


def _scale(dataset: Any) -> int:
    scale = (getattr(dataset, 'opt', None) or {}).get('scale')
    return scale if isinstance(scale, int) else 1


def _other_sizes(files: Mapping[str, str], scale: int, exact: bool) -> str | None:
    """An LR and an HR image that are no pair; where it is not `exact`, the HR image may be larger by a remainder."""
    sizes = {key: image_size(files[key]) for key in ('lq_path', 'gt_path') if key in files}
    low, high = sizes.get('lq_path'), sizes.get('gt_path')
    if low is None or high is None:
        return None
    wanted = (low[0] * scale, low[1] * scale)
    if all(side <= given < side + (1 if exact else scale) for side, given in zip(wanted, high, strict=True)):
        return None
    return (f"{files['lq_path']} is {_text(low)} and {files['gt_path']} {_text(high)}: with scale {scale} the latter "
            f'has to be {_text(wanted)}.')


def _text(size: Size) -> str:
    return 'x'.join(map(str, size))


def check_test_images(dataset: Any, metrics: Mapping[str, Any]) -> None:
    """Reports, from the files' headers, what would stop a test or validation at one of its images.

    Raises:
        UserError: a pair of other sizes; an image of which `crop_border` leaves nothing.
    """
    place, scale = getattr(dataset.opt, 'place', ''), _scale(dataset)
    borders = {name: metric['crop_border'] for name, metric in metrics.items()
               if isinstance(metric, Mapping) and isinstance(metric.get('crop_border'), int)}
    paired = getattr(type(dataset), '__getitem__', None) is PairedImageDataset.__getitem__
    if not borders and not paired:
        return
    for files in _all_files(dataset):
        other = _other_sizes(files, scale, exact=False) if paired else None
        if other:
            raise UserError(f'{place}{other}')
        truth = files.get('gt_path') or files.get('path')
        size = image_size(truth) if truth else None
        name = next((name for name, border in borders.items() if size and 2 * border >= min(size)), None)
        if size and name is not None:
            raise UserError(f'{place}{truth} ({_text(size)}): val: metrics: {name}: crop_border {borders[name]} leaves '
                            'nothing of the image: lower it, or leave the image out.')


def _all_files(dataset: Any) -> Iterator[dict[str, str]]:
    for index in range(len(getattr(dataset, 'paths', ()))):
        yield files_of(dataset, index)
