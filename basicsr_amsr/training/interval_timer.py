"""How long training iterations take, and how long the device waits for data, true on CUDA too."""
from __future__ import annotations

import time
from collections import deque

import torch


class IntervalTimer:
    """In place of BasicSR's `AvgTimer`: the average of what was recorded since the average was last asked for.

    A GPU works behind the program: its clock, not the program's, says what a run costs. Where the program has started
    CUDA, the marks are therefore events in the current stream. BasicSR's loop sets `start` before it asks for the next
    batch and `record` after: the time between the two marks in the stream is what the GPU idled for the batch (and what
    it computed itself for the batch, where crops are cut on it). It is zero while the program is ahead of the GPU,
    however long the program itself waited. Without CUDA, the marks are times of the program's clock.

    Reading the average waits for the GPU; BasicSR reads it where it prints the losses, which waits as well.
    """

    def __init__(self, window: int = 200) -> None:
        self.on_cuda = torch.cuda.is_initialized()
        self.seconds = self.current_time = 0.0
        self.count = 0
        self._unread: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self.start()

    def start(self) -> None:
        """Set the mark from which the next `record` counts."""
        self._begin = self._mark()

    def record(self) -> None:
        """Count the time since the last mark, and set the next one."""
        begin, self._begin = self._begin, self._mark()
        self.count += 1
        if isinstance(begin, float):
            self._add(self._begin - begin)
        else:
            self._unread.append((begin, self._begin))
            while self._unread and self._unread[0][1].query():
                self._read()

    def get_current_time(self) -> float:
        """Seconds of the last record that is known."""
        return self.current_time

    def get_avg_time(self) -> float:
        """Seconds per record since this was last called; 0 where nothing was recorded."""
        while self._unread:
            self._unread[0][1].synchronize()
            self._read()
        average = self.seconds / max(self.count, 1)
        self.seconds, self.count = 0.0, 0
        return average

    def _mark(self):
        if not self.on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _read(self) -> None:
        begin, end = self._unread.popleft()
        self._add(begin.elapsed_time(end) / 1000)

    def _add(self, seconds: float) -> None:
        self.current_time = seconds
        self.seconds += seconds
