"""Settings of the C library's allocator that keep memory for the next forward pass (Linux with glibc).

PyTorch allocates CPU tensors with malloc. glibc maps every large block anew and returns it to the system when it is
freed, so that each pass meets a page fault for each 4 KiB of its feature maps. `tune` has glibc keep what is freed.
"""
from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

from basicsr_amsr.errors import UserError

VARIABLE = 'BASICSR_AMSR_ALLOCATOR'  # 'stock' leaves the allocator as it is

# Parameters of mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8
_TUNED = ((_MMAP_MAX, 0),  # large blocks come from the heap
          (_TRIM_THRESHOLD, -1),  # which never shrinks
          (_TOP_PAD, 256 << 20),  # and grows in large steps
          (_ARENA_MAX, 1))  # for every thread: heaps of other threads hold no large blocks
_FORKED = ((_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20), (_TOP_PAD, 128 << 10))

_tuned = False


def tune() -> bool:
    """Have the process keep freed memory for its next tensors, instead of returning it to the system.

    Results do not change. The process keeps about as much memory as it needed at most, until it ends; `release` returns
    what is free. Processes forked afterwards, such as data workers, return what they inherited and do not keep memory.

    Returns:
        Whether the process is tuned: False where the system has no glibc, or where the environment variable
        BASICSR_AMSR_ALLOCATOR is 'stock'. `state` says why.

    Raises:
        UserError: the variable has another value.
    """
    global _tuned
    if not _tuned and _unavailable() is None:
        _tuned = all(_libc().mallopt(*setting) for setting in _TUNED)
        if _tuned:
            os.register_at_fork(after_in_child=_reset_in_child)
    return _tuned


def release() -> None:
    """Return free memory of a tuned process to the system; the next tensors meet page faults again."""
    if _tuned:
        _libc().malloc_trim(0)


def state() -> str:
    """In words: 'tuned', or 'stock' and why."""
    if _tuned:
        return 'tuned: freed memory is kept for the next tensors'
    return f'stock: {_unavailable() or "basicsr_amsr.allocator.tune() was not called"}'


def _unavailable() -> str | None:
    """Why the allocator cannot be tuned; None where it can."""
    value = os.environ.get(VARIABLE, '')
    if value not in ('', 'stock'):
        raise UserError(f"{VARIABLE}={value}: the only value is 'stock', which leaves the allocator as it is.")
    if value == 'stock':
        return f'{VARIABLE}=stock'
    return None if _has_mallopt() else 'only glibc (Linux) can be tuned'


@cache
def _has_mallopt() -> bool:
    return platform.libc_ver()[0] == 'glibc' and hasattr(_libc(), 'mallopt')  # it reads Python's whole program file


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _reset_in_child() -> None:
    """Forked processes read images: they return what they inherited, and map only blocks over 32 MiB."""
    global _tuned
    for setting in _FORKED:
        _libc().mallopt(*setting)
    _libc().malloc_trim(0)
    _tuned = False
