"""What taking the time needs: a device that has finished, a collector that rests, a name for the machine."""
from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from basicsr_amsr.execution.precision import cpu_has

Result = TypeVar('Result')


def synchronize(device: torch.device) -> None:
    """Wait until all that was queued on `device` has run."""
    if device.type not in ('cpu', 'meta'):
        torch.accelerator.synchronize(device)


def timed(call: Callable[[], Result], device: torch.device, clock: Callable[[], float] = time.perf_counter,
          repeats: int = 1) -> tuple[float, Result]:
    """Seconds of a call, from a device at rest to one at rest, the mean where it is repeated; and its last result.

    Args:
        clock: seconds, increasing.
    """
    synchronize(device)
    start = clock()
    for _ in range(repeats - 1):
        call()  # what it returns is gone before it runs again
    result = call()
    synchronize(device)
    return (clock() - start) / repeats, result


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Inside, Python's cyclic collector does not strike in the middle of a sample."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def device_name(device: torch.device) -> str:
    """The model of a GPU; of a CPU the architecture and its vector instructions."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    if device.type == 'cpu':
        tiles = ' AMX' if cpu_has('amx_bf16') else ''
        return f'{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{tiles}'
    return 'no arithmetic' if device.type == 'meta' else device.type
