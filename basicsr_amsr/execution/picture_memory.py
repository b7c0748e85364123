"""Memory of large tensors that are made once a pass and given away: used again as soon as nobody holds the tensor.

malloc splits what a freed picture leaves for small blocks in between. The next picture, as large as the last, does not
fit, and comes from the system: 6,075 page faults at 1080×1920, and 24 MiB more that the process keeps.
"""
from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

LEAST = 1 << 20  # bytes of a picture that is worth it
MOST_FREE = 2  # blocks that are kept for the next: a loop holds one picture while it computes the next
ALIGNMENT = 64

_held: dict[int, weakref.ref[np.ndarray]] = {}  # what calls `_give_back`
_returned: deque[np.ndarray] = deque()  # appended to as garbage is collected, which may be anywhere
_free: list[np.ndarray] = []
_lock = threading.Lock()


def empty(shape: Sequence[int]) -> torch.Tensor:
    """A contiguous float32 tensor on the CPU with nothing in it yet, like `torch.empty`; its storage cannot grow."""
    size = 4
    for side in shape:
        size *= side
    if size < LEAST:
        return torch.empty(*shape)
    block = _take(size)
    start = -block.ctypes.data % ALIGNMENT
    view = block[start:start + size].view(np.float32).reshape(*shape)
    _held[id(block)] = weakref.ref(view, partial(_give_back, block))
    return torch.from_numpy(view)  # its storage holds the view, and all tensors on it hold the storage


def _take(size: int) -> np.ndarray:
    """A block for so many bytes, at most twice as large."""
    with _lock:
        if _returned:
            _collect()
        for number in reversed(range(len(_free))):  # what came back last is in the caches
            if size + ALIGNMENT <= len(_free[number]) <= 2 * size:
                return _free.pop(number)
    return np.empty(size + ALIGNMENT, np.uint8)


def _give_back(block: np.ndarray, view: weakref.ref[np.ndarray]) -> None:
    """Called by Python when the last tensor on a block is gone."""
    del _held[id(block)]
    _returned.append(block)
    if _lock.acquire(blocking=False):  # else this runs inside `_take`, or beside it
        try:
            _collect()
        finally:
            _lock.release()


def _collect() -> None:
    while _returned:
        _free.append(_returned.popleft())
    del _free[:-MOST_FREE]
