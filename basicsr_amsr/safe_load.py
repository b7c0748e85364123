"""Reads files of weights and states as data only: a file that would run code is refused, a damaged one too."""
from __future__ import annotations

import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from basicsr_amsr.errors import UserError

MOST_UNPACKED = 20  # times the size of an archive; torch.save compresses nothing


def read_weights_only(path: str | os.PathLike[str], what: str = 'checkpoint') -> Any:
    """Read a file written by `torch.save`, or of safetensors, with every tensor on the CPU.

    Only tensors, plain containers (dict, list, tuple, set, OrderedDict, Counter) and plain values are restored, even
    where the environment sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.

    Args:
        path: the file; `~` is expanded.
        what: what the file is to the user, for the messages ('checkpoint', 'training state').

    Raises:
        UserError: one line naming the file, where it is missing, a folder, not readable, truncated, in another
            format, or holds objects that are not plain data.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise UserError(f'{what.capitalize()} not found: {file}')
    if file.is_dir():
        raise UserError(f'{file} is a folder; name the {what} file itself.')
    try:
        if _is_safetensors(file):
            return load_file(file)
        if zipfile.is_zipfile(file):  # torch.load passes its checksums over
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
                if unpacked > MOST_UNPACKED * file.stat().st_size or archive.testzip():
                    raise zipfile.BadZipFile
        with warnings.catch_warnings(), file.open('rb') as content:  # torch.load would go by the name's ending
            warnings.simplefilter('ignore')  # hints at other ways to load the file, wrong advice here
            return torch.load(content, map_location='cpu', weights_only=True)
    except PermissionError as error:
        raise UserError(f'No permission to read {what} {file}') from error
    except Exception as error:  # a damaged file fails anywhere: zip directory, pickle stream, storages, text decoding
        forbidden = re.search(r'GLOBAL ([\w.]+)', str(error))
        if forbidden:
            raise UserError(
                f'Refused {what} {file}: it holds {forbidden[1]}, which is not plain data and may run code; '
                'save it again with tensors and plain values only (net.state_dict()).') from error
        raise UserError(
            f'{file} is no readable {what} ({file.stat().st_size:,} bytes): truncated, damaged or in another format; '
            'copy or download it again.') from error


def _is_safetensors(file: Path) -> bool:
    """Whether a file begins as those of safetensors do, whatever its name: the length of a header, which is JSON."""
    with file.open('rb') as content:
        head = content.read(9)
    return len(head) == 9 and head[8:] == b'{' and int.from_bytes(head[:8], 'little') < file.stat().st_size
