"""Finds, builds where needed, and loads the native library; says why there is none.

Installing the package builds the library into `lib/` beside this file. Where that holds none for the present sources
(an editable checkout that was updated, an installation without a compiler that has one by now), the first use builds it
into the user's cache, half a minute once. `BASICSR_AMSR_NATIVE` = 0 switches all of it off; `plain`, `avx2`, `avx512`,
`avx512bf16` or `neon` choose an instruction set.
"""
from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from basicsr_amsr.caches import cache_folder
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.native import build, tables

VARIABLE = 'BASICSR_AMSR_NATIVE'
INSTALLED = Path(os.environ.get('BASICSR_AMSR_NATIVE_FOLDER') or Path(__file__).resolve().parent / 'lib')
log = logging.getLogger('basicsr')


class Library:
    """The loaded library. `isa` is the instruction set that runs, `available` all that this machine could run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.c = ctypes.CDLL(str(path))
        try:
            tables.declare(self.c)
        except AttributeError as error:  # its sources changed while it was built
            raise OSError(f'{path} lacks a function ({error}): remove it, and it is built again') from error
        if self.c.amsr_abi() != tables.ABI:
            raise OSError(f'{path} has interface {self.c.amsr_abi()}, {tables.ABI} is needed')
        self.available: tuple[str, ...] = tuple(self.c.amsr_available().decode().split())

    @property
    def isa(self) -> str:
        """Name of the instruction set in use."""
        return self.c.amsr_selected().decode()

    @property
    def lanes(self) -> int:
        """Floats in a vector."""
        return self.c.amsr_lanes()

    @property
    def has_bf16(self) -> bool:
        """Whether products of bf16 have an instruction; without it they are computed in float32."""
        return bool(self.c.amsr_has_bf16())

    def select(self, isa: str) -> None:
        """Use another instruction set. Programs built before must not be run any more (they refuse)."""
        if self.c.amsr_select(isa.encode()):
            raise UserError(f'{VARIABLE}={isa}: this machine and build have {", ".join(self.available)} (0: none)')

    @contextmanager
    def using(self, isa: str) -> Iterator[None]:
        """An instruction set for a while, for tests and benchmarks."""
        before = self.isa
        self.select(isa)
        try:
            yield
        finally:
            self.select(before)


def address(array: np.ndarray) -> int:
    """The address of an array's first element; its `ctypes` attribute takes ten times as long."""
    return array.__array_interface__['data'][0]


def run_with_scratch(library: Library, name: str, call: ctypes.Structure) -> None:
    """Run a function that says itself how much scratch memory it needs; `call` has room for its address and size."""
    space = np.empty(getattr(library.c, f'amsr_{name}_scratch')(ctypes.byref(call)) + 64, np.uint8)
    space = space[-address(space) % 64:]
    call.scratch, call.scratch_bytes = address(space), len(space)  # type: ignore[attr-defined]
    if getattr(library.c, f'amsr_{name}')(ctypes.byref(call)):
        raise RuntimeError(f'the native library refused {name}: its scratch memory does not fit')


class _State:
    library: Library | None = None
    reason = ''
    asked = False
    lock = threading.Lock()


def cache() -> Path:
    """Where a library is built on first use."""
    return cache_folder() / 'native'


def library() -> Library | None:
    """The library, or None where `why_not` says why. The first call loads, and builds if need be."""
    with _State.lock:
        if not _State.asked:
            _State.library, _State.reason = _load()
            _State.asked = True
            if _State.reason and os.environ.get(VARIABLE) != '0':
                log.warning('Native kernels are not used: %s.', _State.reason)
        return _State.library


def why_not() -> str:
    """Why there is no library, in one line without a full stop; empty where there is one."""
    library()
    return _State.reason


def _load() -> tuple[Library | None, str]:
    wanted = os.environ.get(VARIABLE, '')
    if wanted == '0':
        return None, f'{VARIABLE}=0'
    try:
        loaded = Library(_find() or _build())
    except (build.BuildError, OSError) as error:
        return None, ' '.join(str(error).split())
    if wanted:
        loaded.select(wanted)
    return loaded, ''


def _find() -> Path | None:
    name = build.library_name()
    return next((folder / name for folder in (INSTALLED, cache()) if (folder / name).is_file()), None)


def _build() -> Path:
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / 'lock'):  # several processes may start at a time
        found = _find()
        if found:
            return found
        log.info('Building the native kernels into %s, once.', folder)
        return build.build(folder)
