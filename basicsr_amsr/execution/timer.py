"""Paired and interleaved timing: what is compared runs turn by turn in one process, so that drift hits all alike."""
from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.timing import garbage_collection_paused, timed

SHORTEST_SAMPLE = 2e-3  # seconds; shorter calls are repeated within a sample, as clocks and synchronisation cost time


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles (linear interpolation) of `samples` values."""

    median: float
    q1: float
    q3: float
    samples: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """Quartiles of one or more values."""
        q1, median, q3 = torch.tensor(values, dtype=torch.float64).quantile(
            torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
        return cls(median, q1, q3, len(values))


@dataclass(frozen=True)
class PairedTimes:
    """Milliseconds of each callable in each round, in the order of the rounds."""

    milliseconds: Mapping[str, Sequence[float]]

    @property
    def rounds(self) -> int:
        """How often each was timed."""
        return len(next(iter(self.milliseconds.values())))

    def latency(self, name: str) -> Quartiles:
        """Milliseconds per call."""
        return Quartiles.of(self._of(name))

    def ratio(self, name: str, reference: str) -> Quartiles:
        """Quartiles of the per-round ratios time(name) / time(reference); below 1 where `name` is faster."""
        return Quartiles.of([a / b for a, b in zip(self._of(name), self._of(reference), strict=True)])

    def _of(self, name: str) -> Sequence[float]:
        if name not in self.milliseconds:
            raise UserError(f"'{name}' was not timed. {suggestion(name, self.milliseconds)}")
        return self.milliseconds[name]


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Inside, PyTorch uses `number` CPU threads per operator (as it is where None)."""
    before = torch.get_num_threads()
    if number is not None:
        if number < 1:
            raise UserError(f'threads is {number}: give 1 or more.')
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def time_paired(calls: Mapping[str, Callable[[], Any]], device: torch.device | str = 'cpu', budget: float = 10.0,
                warmup: int = 2, min_rounds: int = 5, max_rounds: int = 1000, num_threads: int | None = None,
                clock: Callable[[], float] = time.perf_counter, seed: int | None = None,
                before_round: Callable[[PairedTimes], Any] = lambda times: None) -> PairedTimes:
    """Time several callables A, B, … in rounds A B … A B ….

    A sample runs from a synchronised device to a synchronised device: wall time, launch overhead included. Callables
    faster than 2 ms are repeated within a sample and the mean is taken. Gradients are the caller's affair.

    Args:
        calls: name to callable without arguments.
        device: what they run on.
        budget: seconds for the timed rounds and the warm-up together; rounds go on while another one fits.
        warmup: rounds that are not timed (allocator, oneDNN's and cuDNN's choices, lazily loaded kernels); 1 or more.
        min_rounds, max_rounds: bounds on the timed rounds; the lower one outweighs the budget.
        num_threads: PyTorch's CPU threads meanwhile; None leaves them.
        clock: seconds, increasing.
        seed: each timed round has an order of its own, drawn with it, so that nobody always runs after the same one;
            None: the order of `calls`.
        before_round: called before each timed round with the times of the rounds that are complete, the object that
            is returned in the end: whoever keeps it still has them where a round is interrupted.

    Raises:
        UserError: no callables, or a number that makes no sense.
    """
    if not calls:
        raise UserError('Nothing to time: give one callable or more.')
    if not (budget >= 0 and warmup >= 1 and 1 <= min_rounds <= max_rounds):
        raise UserError(f'budget {budget} s, warmup {warmup}, rounds {min_rounds} to {max_rounds}: give a budget from '
                        '0, a warm-up from 1, and 1 or more rounds.')
    where = torch.device(device)

    with threads(num_threads), garbage_collection_paused():
        started = clock()
        for _ in range(warmup):
            single = {name: timed(call, where, clock)[0] for name, call in calls.items()}
        repeats = {name: max(1, math.ceil(SHORTEST_SAMPLE / max(seconds, 1e-7))) for name, seconds in single.items()}
        samples: dict[str, list[float]] = {name: [] for name in calls}
        times, order, draw = PairedTimes(samples), list(calls), random.Random(seed)
        for done in range(max_rounds):
            before_round(times)
            if seed is not None:
                draw.shuffle(order)
            begun = clock()
            taken = {name: timed(calls[name], where, clock, repeats[name])[0] * 1e3 for name in order}
            for name, milliseconds in taken.items():
                samples[name].append(milliseconds)
            now = clock()
            if done + 1 >= min_rounds and now - started + (now - begun) > budget:
                break
    return times
