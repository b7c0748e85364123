"""Files that appear under their name as a whole or not at all, whenever the process dies."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from basicsr_amsr.errors import UserError

PART = '.part'  # behind the name, so that no search for images, *.state or *.pth finds it


def part_name(path: Path) -> Path:
    """A hidden name in the same folder that no other process uses."""
    return path.with_name(f'.{path.name}.{os.getpid()}{PART}')


@contextmanager
def writing(path: Path, sync: bool = False) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the name `path` at the end, in place of what has it.

    Args:
        path: the file.
        sync: wait until the disk has it, for files that others rely on.

    Raises:
        OSError: it cannot be written; what was at `path` before is still there.
    """
    part = part_name(path)
    try:
        with part.open('wb') as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes, sync: bool = False) -> None:
    """Write a file; arguments and errors as in `writing`."""
    with writing(path, sync) as file:
        file.write(data)


def save_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file that a user asked for, as `write_whole` does.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_whole(Path(path), data)
    except OSError as error:
        raise UserError(f"Cannot write '{path}': {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """Make new names in a folder last; systems where a folder cannot be opened do that by themselves."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: Path) -> None:
    """Take away what a killed process was writing."""
    for part in folder.glob(f'.*{PART}'):
        part.unlink(missing_ok=True)
