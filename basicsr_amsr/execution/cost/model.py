"""The costs of whatever asks: remembered, else read from the file, else measured."""
from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr import allocator
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost.costs import Costs
from basicsr_amsr.execution.cost.measure import Probe, measure
from basicsr_amsr.execution.cost.store import Kind, Store, is_off, place
from basicsr_amsr.execution.cost.whole_costs import WholeCosts
from basicsr_amsr.execution.precision import compute_dtype
from basicsr_amsr.execution.timing import device_name
from basicsr_amsr.version import __version__

log = logging.getLogger('basicsr')
UNDECIDED: ContextVar[bool] = ContextVar('undecided', default=False)


class Subject(NamedTuple):
    """A network whose costs are measured and kept.

    Attributes:
        name: for the log.
        identity: everything about it that its time depends on; the machine is a key of its own.
    """

    name: str
    identity: str


@contextmanager
def undecided() -> Iterator[None]:
    """Inside, time decides nothing: a training's validation must not depend on the machine."""
    token = UNDECIDED.set(True)
    try:
        yield
    finally:
        UNDECIDED.reset(token)


def decides(x: torch.Tensor) -> bool:
    """Whether measured time may decide how an image is processed. Not while the network is compiled, exported, captured
    or run on tensors without content, and not where the user or a training forbids it."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) is not torch.Tensor or x.is_meta:
        return False
    if UNDECIDED.get() or is_off():
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def machine(x: torch.Tensor) -> str:
    """Where and how `x` is processed."""
    return _machine(x.device, x.dtype, compute_dtype(x), x.is_contiguous(memory_format=torch.channels_last),
                    torch.get_num_threads(), allocator.state())


@cache
def _machine(device: torch.device, dtype: torch.dtype, computed: torch.dtype, channels_last: bool, number: int,
             state: str) -> str:
    threads = f', threads {number}, allocator {state.partition(":")[0]}' if device.type == 'cpu' else ''
    layout = 'channels-last' if channels_last else 'channels first'
    return (f'{device.type} ({device_name(device)}), {str(computed).removeprefix("torch.")} from '
            f'{str(dtype).removeprefix("torch.")}, {layout}{threads}, torch {torch.__version__}')


class CostModel:
    """Costs by subject, machine and size of the map.

    Args:
        store: where they are kept; default: the file that the environment names.
        clock: seconds, increasing.
    """

    def __init__(self, store: Store | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.given, self.clock = store, clock
        self.store = store or Store(place())
        self.known: dict[tuple[str, str], list[Any]] = {}
        self.failed: set[tuple[str, str]] = set()
        self.lock = threading.RLock()

    def costs(self, subject: Subject, x: torch.Tensor, probe_of: Callable[[int], Probe]) -> Costs | None:
        """The costs for images `x` (B, C, H, W).

        Args:
            subject: what runs.
            x: the images, on their device.
            probe_of: makes what is measured, see `measure`.

        Returns:
            None where nothing can be measured, which the log says once.
        """
        found, key = self.find(subject, x, Costs), _key(subject, x)
        if found is not None or key in self.failed:
            return found
        with self.lock:
            found = self.find(subject, x, Costs)
            if found is None and key not in self.failed:
                found = self._measured(subject, key[1], probe_of, area_of(x), x.device)
                if found is None:
                    self.failed.add(key)
                else:
                    self.keep(subject, x, found)
        return found

    def find(self, subject: Subject, x: torch.Tensor, kind: type[Kind]) -> Kind | None:
        """The costs of that kind that hold for images `x`, as far as they were measured before."""
        key = _key(subject, x)
        if key not in self.known:
            with self.lock:
                self.known.setdefault(key, list(self._store().read(_digest(key), kind)))
        return nearest(self.known[key], area_of(x))

    def keep(self, subject: Subject, x: torch.Tensor, found: Costs | WholeCosts) -> None:
        """Remember what was measured on images `x`, here and in the file."""
        with self.lock:
            key = _key(subject, x)
            others = self._store().read(_digest(key), type(found))  # that another process has measured meanwhile
            self.known[key] = list(dict.fromkeys((*self.known.get(key, ()), *others, found)))
            self._store().add(_digest(key), f'{subject.name}, {key[1]}', self.known[key])

    def _store(self) -> Store:
        if self.given is None and self.store.path != place():  # the environment has changed
            self.store = Store(place())
        return self.store

    def _measured(self, subject: Subject, where: str, probe_of: Callable[[int], Probe], area: int,
                  device: torch.device) -> Costs | None:
        began = self.clock()
        try:
            with _disable_current_modes(), torch.no_grad():  # no counter around the network sees it
                costs = measure(probe_of, area, device, self.clock)
        except (UserError, RuntimeError, ValueError, TypeError) as error:  # out of memory is a RuntimeError
            log.warning('%s: time could not be measured (%s): it skips as asked.', subject.name,
                        ' '.join(str(error).split())[:160])
            return None
        edge = costs.crossover
        verdict = ('sparse is faster throughout' if edge is None else 'dense is faster throughout' if edge == 0 else
                   f'dense is faster above {edge:.0%} active')
        log.info('%s on %s, measured in %.1f s on %d pixels: dense %.3g µs a pixel, sparse %.3g + %.3g · keep; %s.',
                 subject.name, where, self.clock() - began, costs.area, costs.dense * 1e6, costs.base * 1e6,
                 costs.slope * 1e6, verdict)
        return costs


def area_of(x: torch.Tensor) -> int:
    """Pixels of images (B, C, H, W)."""
    return x.shape[0] * x.shape[2] * x.shape[3]


def _key(subject: Subject, x: torch.Tensor) -> tuple[str, str]:
    return subject.identity, machine(x)


def _digest(key: tuple[str, str]) -> str:
    return hashlib.sha256(f'{__version__} {key[0]} {key[1]}'.encode()).hexdigest()[:24]


def nearest(known: Sequence[Kind], area: int) -> Kind | None:
    """The costs measured on the largest map, among those that hold for a map of that area; None where none do."""
    return max((costs for costs in known if costs.fits(area)), key=lambda costs: costs.area, default=None)


MODEL = CostModel()
