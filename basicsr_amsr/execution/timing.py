"""What taking the time needs: a device that has finished, a collector that rests, a name for the machine."""
from __future__ import annotations

import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def synchronize(device: torch.device) -> None:
    """Wait until all that was queued on `device` has run."""
    if device.type not in ('cpu', 'meta'):
        torch.accelerator.synchronize(device)


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
        return f'{platform.machine()} {torch.backends.cpu.get_cpu_capability()}'
    return 'no arithmetic' if device.type == 'meta' else device.type
