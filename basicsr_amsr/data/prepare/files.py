"""Files that appear under their name as a whole or not at all."""
from __future__ import annotations

import os
from pathlib import Path

from basicsr_amsr.data.image_io import PNG_SIGNATURE

PART = '.part'


def part_name(path: Path) -> Path:
    """A name in the same folder that BasicSR and `list_images` do not see, and no other process uses."""
    return path.with_name(f'.{path.name}.{os.getpid()}{PART}')


def write_whole(path: Path, data: bytes, sync: bool = False) -> None:
    """Write a file under another name, then rename it.

    Args:
        path: the file; what is there is replaced.
        data: its content.
        sync: wait until the disk has it, for a file that claims that others are complete.
    """
    part = part_name(path)
    try:
        with part.open('wb') as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def link_whole(source: Path, path: Path) -> bool:
    """Give a file a second name, replacing what has it; False where the file system cannot."""
    part = part_name(path)
    try:
        os.link(source, part)
        os.replace(part, path)
    except OSError:
        return False
    finally:
        part.unlink(missing_ok=True)  # POSIX: renaming one name of a file to another of the same file does nothing
    return True


def remove_parts(folder: Path) -> None:
    """Remove what an interrupted run left half-written."""
    for part in folder.glob(f'.*{PART}'):
        part.unlink(missing_ok=True)


def plain_png(path: Path) -> bool:
    """Whether every reader sees the same pixels in this PNG: 8 or 16 bits, gray or RGB, no transparency, upright."""
    if path.suffix != '.png':
        return False
    data = path.read_bytes()
    # IHDR (PNG specification, 11.2.1): bit depth at byte 24, colour type at byte 25.
    return (data.startswith(PNG_SIGNATURE) and data[24] in (8, 16) and data[25] in (0, 2)
            and b'tRNS' not in data and b'eXIf' not in data)
