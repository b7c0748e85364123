"""Checks pairs that somebody has already: every HR image has its LR image, both can be read, HR = scale × LR."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import lmdb

from basicsr_amsr.data.image_io import decode_image, list_images, read_image
from basicsr_amsr.data.prepare.layouts import find_template, is_lmdb
from basicsr_amsr.data.prepare.pool import each
from basicsr_amsr.errors import UserError

Watch = Callable[[int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Item:
    """An HR image with the LR image it should have at each scale: an image file, or LMDB/key."""

    index: int
    hr: Path
    lrs: dict[int, Path]


@dataclass
class Findings:
    """What a check found. `problems` are lines, the first pair's first; `smallest` is the shortest HR side."""

    images: int
    pairs: int
    pixels: int = 0
    smallest: int = 0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The first problem, and how many there are."""
        what = 'pairs' if self.pairs else 'images'
        return f'{self.problems[0]} ({len(self.problems)} problems in {self.pairs or self.images} {what})'


def check(hr: Path, lrs: dict[int, Path], templates: dict[int, str], workers: int, watch: Watch,
          alpha: str = 'refuse') -> Findings:
    """Check all pairs, reading every image.

    Args:
        hr, lrs: folders of images, or BasicSR LMDBs; the LR ones by scale.
        templates: BasicSR's `filename_tmpl` of each scale.
        workers: number of processes.
        watch: given the number of HR images, a context whose value is called after each.
        alpha: as of `read_image`.

    Raises:
        UserError: a folder cannot be read at all.
    """
    found: list[tuple[int, int, str]] = []
    items = [Item(index, path, {}) for index, path in enumerate(listed(hr))]
    for scale, folder in lrs.items():
        low = set(listed(folder))
        expected = {item.index: _expected(folder, templates[scale], item.hr) for item in items}
        for item in items:
            lr = expected[item.index]
            if lr in low:
                item.lrs[scale] = lr
            else:
                found.append((item.index, scale, _missing(item.hr, lr, low)))
        stems = {lr.stem for lr in expected.values()}
        found += [(len(items), scale, f"'{extra}' has no HR image in '{hr}'; BasicSR wants as many LR as HR images.")
                  for extra in sorted(low) if extra.stem not in stems]
    findings = Findings(len(items), len(items) * len(lrs))
    sides: list[int] = []
    with watch(len(items)) as advance:
        for index, size, problems in each(partial(_check_item, alpha=alpha), items, workers):
            found += [(index, scale, line) for scale, line in problems]
            sides += [min(size)] if size else []
            findings.pixels += size[0] * size[1] if size else 0
            advance()
    findings.problems = [line for _, _, line in sorted(found)]
    findings.smallest = min(sides, default=0)
    return findings


def listed(folder: Path) -> list[Path]:
    """The images of a folder, or LMDB/key for the keys that BasicSR reads from an LMDB's list."""
    if is_lmdb(folder):
        lines = (folder / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
        return [folder / line.split('.')[0] for line in lines]
    return list_images(folder)


def detect_template(hr: Path, lr: Path, scale: int) -> str:
    """The template under which most names of both folders agree."""
    return find_template((path.stem for path in listed(hr)), (path.stem for path in listed(lr)), scale)


def _expected(folder: Path, template: str, hr: Path) -> Path:
    """Where BasicSR looks for the LR image: under the suffix of the HR image."""
    return folder / f'{template.format(hr.stem)}{hr.suffix}'


def _missing(hr: Path, lr: Path, low: set[Path]) -> str:
    other = sorted(path.name for path in low if path.stem == lr.stem)
    hint = f"; there is {other[0]}, but BasicSR looks for the suffix of the HR image" if other else ''
    return f"'{hr}' has no LR image: '{lr}' is missing{hint}."


def _check_item(item: Item, alpha: str) -> tuple[int, tuple[int, int] | None, list[tuple[int, str]]]:
    """Index, size of the HR image, and (scale, problem) of its pairs; scale 0 for the HR image itself."""
    try:
        height, width = _size(item.hr, alpha)
    except UserError as error:
        return item.index, None, [(0, str(error))]
    problems = []
    for scale, lr in item.lrs.items():
        try:
            size = _size(lr, alpha)
        except UserError as error:
            problems.append((scale, str(error)))
            continue
        if (size[0] * scale, size[1] * scale) != (height, width):
            floor = (height // scale, width // scale) == size
            hint = '; `basicsr prepare --hr … --lr … --out …` crops them' if floor else ''
            problems.append((scale, f"'{item.hr}' is {height}x{width} and '{lr}' {size[0]}x{size[1]}: at scale "
                                    f'{scale} HR must be {size[0] * scale}x{size[1] * scale}{hint}.'))
    return item.index, (height, width), problems


def _size(image: Path, alpha: str) -> tuple[int, int]:
    if is_lmdb(image.parent):
        with _opened(image.parent).begin() as txn:
            data = txn.get(image.name.encode())
        if data is None:
            raise UserError(f"'{image.parent}' lists {image.name} and does not hold it; make it again.")
        height, width = decode_image(data, image, None, alpha).shape[:2]
    else:
        height, width = read_image(image, None, alpha).shape[:2]
    return height, width


@lru_cache(maxsize=8)
def _opened(folder: Path) -> lmdb.Environment:
    try:
        return lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise UserError(f"'{folder}' is no LMDB: {error}.") from error
