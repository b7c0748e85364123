"""What is done: one JSON line for each source image, appended when its results are complete."""
from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from basicsr_amsr.files import write_whole

Entry = dict[str, Any]


def read(path: Path) -> dict[str, Entry]:
    """Entries by name, the last one of each; a line that a kill or a full disk cut short ends the file."""
    entries: dict[str, Entry] = {}
    try:
        lines = path.read_bytes().split(b'\n')[:-1]
    except FileNotFoundError:
        return entries
    for line in lines:
        try:
            entry = json.loads(line)
            entries[entry['name']] = entry
        except (ValueError, KeyError, TypeError):
            break
    return {name: entry for name, entry in entries.items() if not entry.get('gone')}


class Journal:
    """The journal of one preparation, open for appending.

    An entry has `name` and `count` (of sub-images, 0 for the whole image), so that everything begun can be removed;
    one that is done has also `sources` ([path, bytes, mtime in ns] each), `shape` ([height, width] of the cropped
    HR image), and for HR and each scale `channels` and `bytes` (of each PNG).
    """

    def __init__(self, path: Path):
        self.path = path
        self.entries = read(path)
        self.rewrite()
        self._file = path.open('ab')

    def rewrite(self) -> None:
        """Replace the file by one line per name, sorted."""
        write_whole(self.path, b''.join(_line(self.entries[name]) for name in sorted(self.entries)), sync=True)

    def append(self, entries: Iterable[Entry]) -> None:
        """Add entries and wait until the disk has them."""
        entries = list(entries)
        self._file.write(b''.join(_line(entry) for entry in entries))
        self._file.flush()
        os.fsync(self._file.fileno())
        for entry in entries:
            if entry.get('gone'):
                self.entries.pop(entry['name'], None)
            else:
                self.entries[entry['name']] = entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(entry: Entry) -> bytes:
    return json.dumps(entry).encode() + b'\n'
