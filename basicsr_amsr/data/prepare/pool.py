"""A function over many items in several processes, on PyTorch's DataLoader."""
from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset


class _Calls(Dataset):
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]):
        self.function, self.items = function, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])


def each(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """`function(item)` for all items, as they become ready.

    Several workers are processes and start at once, before the first result is asked for: nothing that must not be
    forked may be open yet. They ignore Ctrl-C, which is for the caller, and end with it, even if it is killed. One
    worker is this process itself.

    Args:
        function, items: picklable where processes are spawned (Windows, macOS).
        workers: how many.

    Raises:
        What `function` raises; UserError from a worker stays one line.
    """
    workers = min(workers, len(items))
    # OpenCV's threads do not survive a fork, and a child that then changes their number waits for them forever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='This DataLoader will create')  # the number is the user's
            return iter(DataLoader(_Calls(function, items), batch_size=None, collate_fn=_same, in_order=False,
                                   num_workers=workers if workers > 1 else 0, worker_init_fn=_start))
    finally:
        cv2.setNumThreads(threads)


def _same(item: Any) -> Any:
    return item


def _start(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cv2.getNumThreads() != 1:  # spawned
        cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """The loader's own watch notices a killed parent only between items, and a full pipe would hold it forever."""
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)
