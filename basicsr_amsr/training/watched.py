"""Which image a validation or test is at work on, and names for the results of images that share one."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePath
from typing import Any


@dataclass(frozen=True)
class Image:
    """An image under test.

    Attributes:
        name: unlike that of any other image of the set; with its folder, 'folder/name', where the files' names are
            alike, and for frames of videos.
        files: the LR file and, if there is one, the HR file.
        size: of the LR image, height and width.
    """

    name: str
    files: tuple[str, ...]
    size: tuple[int, ...]

    def __str__(self) -> str:
        return ' and '.join(self.files) or self.name


IMAGE: ContextVar[Image | None] = ContextVar('image', default=None)


class Watched:
    """A loader of test images that notes in IMAGE which one it has given; all else is as in the loader."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        taken: set[str] = set()
        for batch in self.loader:
            files = tuple(dict.fromkeys(str(one) for key in ('lq_path', 'gt_path') if (one := first(batch, key))))
            size = tuple(getattr(batch.get('lq'), 'shape', ())[-2:])
            IMAGE.set(Image(distinct_name(batch, taken), files, size))
            yield batch
            IMAGE.set(None)


def first(batch: Mapping[str, Any], key: str) -> Any:
    """The path of the first item of a batch; None where there is none."""
    path = batch.get(key)
    path = path[0] if isinstance(path, (list, tuple)) and path else path
    return path if isinstance(path, str) else None


def distinct_name(batch: Mapping[str, Any], taken: set[str]) -> str:
    """The file's name without suffix; with its folder for video frames and where an image in `taken` has that name.

    It is put into `taken`.
    """
    path = first(batch, 'lq_path')
    wanted = ['image']
    if path is not None:
        pure = PurePath(path)
        names = [pure.stem, f'{pure.parent.name}/{pure.stem}']
        wanted = names[1:] if 'folder' in batch else names
    numbered = (f'{wanted[-1]} ({number})' for number in count(2))
    name = next(name for name in chain(wanted, numbered) if name not in taken)
    taken.add(name)
    return name


def placed(path: str) -> str:
    """The path for the result of the current image, where BasicSR takes the file's name alone.

    `set/x_run.png` becomes `set/folder/x_run.png`, and in training `x/x_5000.png` becomes `folder/x/x_5000.png`.
    """
    image, file = IMAGE.get(), Path(path)
    stem = Path(image.files[0]).stem if image and image.files else ''
    if image is None or image.name == stem or not file.name.startswith(stem):
        return path
    folder, _, last = image.name.rpartition('/')
    own = file.parent.name == stem
    base = (file.parent.parent if own else file.parent) / folder
    return str((base / last if own else base) / f'{last}{file.name.removeprefix(stem)}')
