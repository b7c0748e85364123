"""Peak memory of a call."""
from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.timing import synchronize


def peak_memory(call: Callable[[], Any], device: torch.device | str = 'cpu') -> int:
    """Bytes that a call needs at its worst moment on top of what was allocated before.

    Weights and input are not in it (they were there before); features, buffers that operators allocate for themselves,
    and the result are. On CUDA it is the caching allocator's own peak. On the CPU it is replayed from the allocations
    and releases that PyTorch's profiler records, which, unlike the process's resident size, does not depend on what
    malloc kept from earlier. Buffers that a library takes from malloc itself are not seen, and releasing what was
    there before makes no room.

    Call it once beforehand, so that what is allocated once and kept does not count.

    Raises:
        UserError: the device is neither a CPU nor CUDA.
    """
    where = torch.device(device)
    if where.type == 'cuda':
        synchronize(where)
        before = torch.cuda.memory_allocated(where)
        torch.cuda.reset_peak_memory_stats(where)
        result = call()
        synchronize(where)
        del result
        return torch.cuda.max_memory_allocated(where) - before
    if where.type != 'cpu':
        raise UserError(f'Peak memory is measured on cpu and cuda, not on {where.type}.')
    return cpu_peak(call)


def cpu_peak(call: Callable[[], Any]) -> int:
    """Highest sum of bytes allocated minus bytes released since the start of the call."""
    # The profiler's own log would land in the middle of a table.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    with allocator_quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = call()
    del result
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json'
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding='utf-8'))['traceEvents']
    changes = [event for event in events if event.get('name') == '[memory]' and event['args']['Device Type'] == 0]
    level = peak = 0
    for event in sorted(changes, key=lambda event: event['ts']):
        level += event['args']['Bytes']
        peak = max(peak, level)
    return peak


@contextmanager
def allocator_quiet() -> Iterator[None]:
    """Inside, the CPU allocator does not warn on stderr of releasing what was allocated before; other lines stay.

    A network that keeps a tensor from call to call releases the last one. No setting turns the warning off.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            others = [line for line in kept if b'Memory block of unknown size' not in line]
            if others:
                os.write(2, b''.join(others))
