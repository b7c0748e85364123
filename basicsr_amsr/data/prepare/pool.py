"""A function over many items in several processes."""
from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

import cv2

from basicsr_amsr.errors import UserError

AHEAD = 2  # items per worker that are handed out before their results are taken


def each(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """`function(item)` for all items, as they become ready.

    Several workers are processes and start at once, before the first result is asked for: nothing that must not be
    forked may be open yet. They ignore Ctrl-C, which is for the caller, and end with it, even if it is killed. One
    worker is this process itself.

    Args:
        function, items: picklable.
        workers: how many.

    Raises:
        UserError: a worker was killed, as a system that runs out of memory does.
        What `function` raises.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        return map(function, items)
    # OpenCV's threads do not survive a fork, and a child that then changes their number waits for them forever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rest = iter(items)
        executor = ProcessPoolExecutor(workers, initializer=_start)
        waiting = {executor.submit(function, item) for item in islice(rest, AHEAD * workers)}
    finally:
        cv2.setNumThreads(threads)
    return _results(executor, function, rest, waiting)


def _results(executor: ProcessPoolExecutor, function: Callable[[Any], Any], rest: Iterator[Any],
             waiting: set[Future[Any]]) -> Iterator[Any]:
    try:
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                waiting |= {executor.submit(function, item) for item in islice(rest, 1)}
                yield result
    except BrokenProcessPool:
        raise UserError('A worker process was killed, most likely for lack of memory; run the same command again with '
                        'fewer --workers.') from None
    finally:
        executor.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cv2.getNumThreads() != 1:  # not forked
        cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends a worker when the command is killed: the executor does not notice, and a full pipe would hold it forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
