"""The costs of whatever asks: remembered, else read from the file, else measured."""
from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr import allocator
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost.costs import Costs
from basicsr_amsr.execution.cost.measure import Probe, measure
from basicsr_amsr.execution.cost.store import Store, is_off, place
from basicsr_amsr.execution.precision import compute_dtype
from basicsr_amsr.execution.timing import device_name
from basicsr_amsr.version import __version__

log = logging.getLogger('basicsr')
UNDECIDED: ContextVar[bool] = ContextVar('undecided', default=False)


class Subject(NamedTuple):
    """What costs are of.

    Attributes:
        name: for the log.
        identity: all that matters for its time beside the machine.
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
    """Whether time can and may decide how an image is processed: nothing is timed while a graph is made of the network
    (compiled, exported, captured, on tensors without content)."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) is not torch.Tensor or x.is_meta:
        return False
    if UNDECIDED.get() or is_off():
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def machine(x: torch.Tensor) -> str:
    """Where and how `x` is processed."""
    threads = (f', threads {torch.get_num_threads()}, allocator {allocator.state().partition(":")[0]}'
               if x.device.type == 'cpu' else '')
    layout = 'channels-last' if x.is_contiguous(memory_format=torch.channels_last) else 'channels first'
    return (f'{x.device.type} ({device_name(x.device)}), {str(compute_dtype(x)).removeprefix("torch.")} from '
            f'{str(x.dtype).removeprefix("torch.")}, {layout}{threads}, torch {torch.__version__}')


class CostModel:
    """Costs by subject, machine and size of the map.

    Args:
        store: where they are kept; default: the file that the environment names.
        clock: seconds, increasing.
    """

    def __init__(self, store: Store | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.given, self.clock = store, clock
        self.store = store or Store(place())
        self.known: dict[tuple[str, str], list[Costs]] = {}
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
        area, where = x.shape[0] * x.shape[2] * x.shape[3], machine(x)
        key = (subject.identity, where)
        found = nearest(self.known.get(key, ()), area)
        if found is not None or key in self.failed:
            return found
        with self.lock:
            text = f'{__version__} {subject.identity} {where}'
            digest = hashlib.sha256(text.encode()).hexdigest()[:24]
            if key not in self.known:
                self.known[key] = self._store().read(digest)
            found = nearest(self.known[key], area)
            if found is None:
                found = self._measured(subject, where, probe_of, area, x.device)
                if found is None:
                    self.failed.add(key)
                else:
                    others = self._store().read(digest)  # that another process has measured meanwhile
                    self.known[key] = list(dict.fromkeys((*self.known[key], *others, found)))
                    self._store().add(digest, f'{subject.name}, {where}', self.known[key])
        return found

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
        log.info('%s on %s, measured in %.1f s on %d pixels: dense %.3g µs a pixel, sparse %.3g + %.3g · ratio; %s.',
                 subject.name, where, self.clock() - began, costs.area, costs.dense * 1e6, costs.base * 1e6,
                 costs.slope * 1e6, verdict)
        return costs


def nearest(known: list[Costs] | tuple[Costs, ...], area: int) -> Costs | None:
    """Of the costs that hold for a map of that area those from the largest one."""
    return max((costs for costs in known if costs.fits(area)), key=lambda costs: costs.area, default=None)


MODEL = CostModel()
