"""Where results are kept: folders of PNG files, or LMDBs (lmdb_writer.py)."""
from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from basicsr_amsr.data.prepare import subimages
from basicsr_amsr.data.prepare.journal import Entry
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.sources import cut
from basicsr_amsr.data.prepare.work import Result
from basicsr_amsr.files import remove_parts, write_whole

# Between two notes in the journal: waiting for the disk to have one makes it write all files before, too.
NOTE_SECONDS = 1.0


class Store(Protocol):
    """What `run` needs of a place for results."""

    def complete(self, entries: list[Entry]) -> set[str]:
        """Names of the journal's entries whose results are all there, with their sizes. Changes nothing."""

    def clean(self) -> None:
        """Remove what an interrupted run left half-written."""

    def open(self) -> None:
        """Make it ready for writing."""

    def remove(self, name: str, first: int, last: int) -> None:
        """Remove sub-images `first` … `last` (from 1) of an image; 1 … 0 is the whole image."""

    def add(self, result: Result) -> None:
        """Store the results of a source."""

    def full(self) -> bool:
        """Whether so much has gathered that it should be committed."""

    def commit(self) -> None:
        """Make all that was added permanent."""

    def finish(self, entries: list[Entry]) -> None:
        """All sources are done: write the lists and give the results their final names."""

    def clear(self, entries: list[Entry]) -> None:
        """Remove all results."""

    def close(self) -> None:
        """Close what must not be open when processes start."""


class FolderStore:
    """PNG files, which the workers write themselves.

    They are not flushed to the disk one by one, which would double the time. Where power fails, `complete` finds the
    files that are missing or shorter than the journal says.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self._since = time.monotonic()

    def complete(self, entries: list[Entry]) -> set[str]:
        """See Store."""
        found = {side: _sizes(folder) for side, folder in self.settings.targets.items()}
        return {entry['name'] for entry in entries if all(
            found[side].get(f'{name}.png') == size
            for side, sizes in zip(self.settings.sides, entry['bytes'], strict=True)
            for name, size in zip(self.settings.stems(entry['name'], side, entry['count']), sizes, strict=True))}

    def clean(self) -> None:
        """See Store."""
        for folder in self.settings.targets.values():
            remove_parts(folder)

    def open(self) -> None:
        """See Store."""
        for folder in self.settings.targets.values():
            folder.mkdir(parents=True, exist_ok=True)

    def remove(self, name: str, first: int, last: int) -> None:
        """See Store."""
        for side, folder in self.settings.targets.items():
            for stem in self.settings.stems(name, side, last)[first - 1:]:
                (folder / f'{stem}.png').unlink(missing_ok=True)

    def add(self, result: Result) -> None:
        """See Store."""

    def full(self) -> bool:
        """See Store."""
        return time.monotonic() - self._since >= NOTE_SECONDS

    def commit(self) -> None:
        """See Store."""
        self._since = time.monotonic()

    def finish(self, entries: list[Entry]) -> None:
        """See Store."""
        write_if_changed(self.settings.meta_info_file, meta_info(self.settings, entries, HR))

    def clear(self, entries: list[Entry]) -> None:
        """See Store."""
        self.settings.meta_info_file.unlink(missing_ok=True)
        for entry in entries:
            self.remove(entry['name'], 1, entry['count'])
        self.clean()
        for folder in self.settings.targets.values():
            with suppress(OSError):
                folder.rmdir()

    def close(self) -> None:
        """See Store."""


def meta_info(settings: Settings, entries: list[Entry], side: int) -> list[str]:
    """BasicSR's lines 'name.png (h,w,c)' for HR (side 1) or a scale, sorted by file name."""
    lines = []
    for entry in entries:
        channels = entry['channels'][settings.sides.index(side)]
        tiles = cut(settings, *entry['shape'])
        for name, tile in zip(subimages.names(entry['name'], entry['count']), tiles, strict=True):
            lines.append((f'{name}.png', f'({tile.height // side},{tile.width // side},{channels})'))
    return [f'{name} {shape}' for name, shape in sorted(lines)]


def write_if_changed(path: Path, lines: list[str]) -> None:
    """Write a list of lines, unless the file holds them already."""
    data = ''.join(f'{line}\n' for line in lines).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data, sync=True)


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as found:
            return {file.name: file.stat().st_size for file in found}
    except FileNotFoundError:
        return {}
