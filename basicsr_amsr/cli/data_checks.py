"""Folders, LMDBs and lists of images that are there and cannot be used as the options say."""
from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from basicsr_amsr.cli.checks import LISTS, ON_DISK
from basicsr_amsr.options.conflicts import datasets
from basicsr_amsr.options.mistakes import Problem, prefix

BOMS = {codecs.BOM_UTF8: 'begins with a byte order mark', codecs.BOM_UTF16_LE: 'is text in UTF-16',
        codecs.BOM_UTF16_BE: 'is text in UTF-16'}
LMDB = ('data.mdb', 'meta_info.txt')


def unusable_data(options: Mapping[str, Any]) -> Iterator[Problem]:
    """A line for each folder and list; what is not there is told elsewhere."""
    for name, values in datasets(options):
        backend = values.get('io_backend')
        kind = backend.get('type') if isinstance(backend, Mapping) else backend
        for key, given in values.items():
            at = ('datasets', name, str(key))
            for path in given if isinstance(given, list) else [given]:
                found = (_wrong_root(Path(path), kind) if str(key).startswith('dataroot') and isinstance(path, str) else
                         _wrong_list(Path(path), values) if key in LISTS and isinstance(path, str) else None)
                if found:
                    yield Problem(at, f'{prefix(at)}{path} {found}')


def _wrong_root(folder: Path, kind: Any) -> str | None:
    """What is wrong with a folder of images, or an LMDB."""
    if not folder.is_dir() or kind not in ON_DISK:
        return None
    if kind == 'lmdb':
        missing = [name for name in LMDB if not (folder / name).is_file()]
        return f'is no LMDB of BasicSR, it has no {" and no ".join(missing)}: write io_backend: {{type: disk}} for ' \
               'folders of images, or make it with basicsr prepare --lmdb.' if missing else None
    if (folder / LMDB[0]).is_file():
        return 'is an LMDB: write io_backend: {type: lmdb}.'
    with os.scandir(folder) as entries:
        links = (entry for entry in entries if entry.is_symlink())
        dangling = next((entry.name for entry in links if not os.path.exists(entry.path)), None)
    return f'holds {dangling}, a link to a file that is not there: mend or remove it.' if dangling else None


def _wrong_list(file: Path, values: Mapping[str, Any]) -> str | None:
    """What is wrong with a list of images; its first name is looked for."""
    if not file.is_file():
        return None
    data = file.read_bytes()
    mark = next((text for bom, text in BOMS.items() if data.startswith(bom)), None)
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        mark, lines = mark or f'is no text in UTF-8 (byte {error.start})', []
    if mark:
        return f'{mark}: save it as UTF-8 without a mark.'
    empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if empty or not lines:
        return f'names no image in line {empty or 1}: take empty lines out.'
    roots = values.get('dataroot_gt')
    folders = [Path(root) for root in (roots if isinstance(roots, list) else [roots]) if isinstance(root, str)]
    name = lines[0].split(' ')[0]
    if folders and all(folder.is_dir() for folder in folders) and not (folders[0] / LMDB[0]).exists() and Path(
            name).suffix and not any((folder / name).is_file() for folder in folders):
        return f"names '{name}', which is not in {' or '.join(map(str, folders))}: the list is of other images."
    return None
