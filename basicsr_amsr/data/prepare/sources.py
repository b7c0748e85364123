"""The images a preparation starts from, and the names of what is made of them."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from basicsr_amsr.data.image_io import image_size, list_images
from basicsr_amsr.data.prepare import layouts
from basicsr_amsr.data.prepare.settings import Settings
from basicsr_amsr.data.prepare.subimages import Window, windows
from basicsr_amsr.errors import UserError

LONGEST_KEY = 500  # bytes; LMDB's limit is 511, and a sub-image's number needs some


@dataclass(frozen=True)
class Source:
    """An HR image, with its LR images where they are given: {scale: path}. `size` is (H, W), None where unknown."""

    name: str
    path: Path
    size: tuple[int, int] | None
    lrs: dict[int, Path] = field(default_factory=dict)

    def signature(self) -> list[list[str | int]]:
        """Path, bytes and time of change (ns) of each file: the same as long as nothing has changed."""
        states = [(path, path.stat()) for path in (self.path, *self.lrs.values())]
        return [[str(path.resolve()), state.st_size, state.st_mtime_ns] for path, state in states]


@dataclass(frozen=True)
class Sources:
    """What was found: images to prepare, those left out as too small, and those whose name had to change."""

    images: list[Source]
    left_out: list[Source]
    renamed: list[Source]


def cut(settings: Settings, height: int, width: int) -> list[Window]:
    """The windows of an image of this size after it is cropped to a multiple of the scales."""
    common = settings.common
    return windows(height // common * common, width // common * common, settings.crop, settings.stride,
                   settings.threshold)


def count(settings: Settings, size: tuple[int, int] | None) -> int:
    """Number of sub-images; 0 where the whole image is kept."""
    return len(cut(settings, *size)) if settings.crop is not None and size else 0


def find(settings: Settings) -> Sources:
    """List the HR images, in the order of the folders, and find their LR images where they are given.

    Raises:
        UserError: a folder is absent or empty, names collide or cannot be used, an LR image is missing.
    """
    named: dict[str, Path] = {}
    collisions: list[tuple[str, Path, Path]] = []
    for folder in settings.hr:
        for path in list_images(folder, settings.recursive):
            name = _name(settings, folder, path)
            if name in named:
                collisions.append((name, named[name], path))
            named.setdefault(name, path)
    if collisions:
        name, first, second = collisions[0]
        more = f' ({len(collisions)} such names in all)' if len(collisions) > 1 else ''
        help_ = 'rename one' if settings.prefix else "rename one, or add --prefix to put the folder's name before"
        raise UserError(f"'{first}' and '{second}' would both become {name}.png{more}; {help_}.")
    _check_names(settings, named)
    lrs = _given_lrs(settings, named)
    images: list[Source] = []
    left_out: list[Source] = []
    for name, path in sorted(named.items()):
        source = Source(name, path, image_size(path), lrs.get(name, {}))
        small = source.size is not None and min(source.size) < settings.min_size
        (left_out if small else images).append(source)
    if not images:
        raise UserError(f'All {len(left_out)} images have a side shorter than --min-size {settings.min_size}.')
    return Sources(images, left_out, [source for source in images if not source.name.endswith(source.path.stem)])


def _name(settings: Settings, folder: Path, path: Path) -> str:
    """BasicSR's lists end a name at a blank, its LMDB reader at the first dot: both become underscores there."""
    parts = (folder.resolve().name, *path.relative_to(folder).parent.parts, path.stem) if settings.prefix else (
        path.stem,)
    name = re.sub(r'\s', '_', '_'.join(parts))
    return name.replace('.', '_') if settings.lmdb else name


def _check_names(settings: Settings, named: dict[str, Path]) -> None:
    # The file system's bytes that are no UTF-8 are lone surrogates in Python, which no list can hold.
    unreadable = [path for name, path in named.items() if name.encode(errors='replace').decode() != name]
    if unreadable:
        raise UserError(f'The name {str(unreadable[0])!a} is no UTF-8 ({len(unreadable)} such files); rename it.')
    if not settings.lmdb:
        return
    wrong = [path for name, path in named.items() if not name.isascii() or len(name) > LONGEST_KEY]
    if wrong:
        raise UserError(f"'{wrong[0]}' cannot be a key of BasicSR's LMDB, which takes ASCII names of at most "
                        f'{LONGEST_KEY} letters ({len(wrong)} such files); rename it, or leave out --lmdb.')


def _given_lrs(settings: Settings, named: dict[str, Path]) -> dict[str, dict[int, Path]]:
    """{name: {scale: LR file}} from `settings.lr`; empty where the LR images are to be made."""
    found: dict[str, dict[int, Path]] = {}
    if settings.lr is None:
        return found
    for scale in settings.scales:
        folder = layouts.find_lr(settings.hr[0], settings.lr, scale)
        if folder is None:
            list_images(settings.lr)  # says what is wrong with it
            raise UserError(f"'{settings.lr}' holds no LR images of scale {scale}.")
        files = {path.stem: path for path in list_images(folder)}
        template = layouts.find_template((path.stem for path in named.values()), files, scale)
        missing = [path for path in named.values() if template.format(path.stem) not in files]
        if missing:
            raise UserError(f"'{missing[0]}' has no LR image of scale {scale} "
                            f"('{folder / template.format(missing[0].stem)}', any suffix); "
                            f'{len(missing)} of {len(named)} have none.')
        for name, path in named.items():
            found.setdefault(name, {})[scale] = files[template.format(path.stem)]
    return found
