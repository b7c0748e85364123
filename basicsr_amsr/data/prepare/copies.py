"""Images that need not be written again."""
from __future__ import annotations

import os
from pathlib import Path

from basicsr_amsr.data.image_io import PNG_SIGNATURE
from basicsr_amsr.files import part_name


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


def plain_png(path: Path) -> bool:
    """Whether every reader sees the same pixels in this PNG: 8 or 16 bits, gray or RGB, no transparency, upright."""
    if path.suffix != '.png':
        return False
    data = path.read_bytes()
    # IHDR (PNG specification, 11.2.1): bit depth at byte 24, colour type at byte 25.
    return (data.startswith(PNG_SIGNATURE) and data[24] in (8, 16) and data[25] in (0, 2)
            and b'tRNS' not in data and b'eXIf' not in data)
