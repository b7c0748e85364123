"""Times one contender, in a process that runs nothing else."""
from __future__ import annotations

import dataclasses
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr import allocator
from basicsr_amsr.bench.engines import export, import_packages, load, prepared
from basicsr_amsr.bench.job import Job, Result
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.timer import time_paired
from basicsr_amsr.execution.timing import synchronize
from basicsr_amsr.psnr import plain_psnr


def main(job: Job, answer: str, log: str) -> None:
    """Entry of the process: the result or `{"error": why}` goes to a JSON file, what is printed to the log."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if hasattr(os, 'setsid'):
        os.setsid()  # it can be ended with all that it started
    try:
        if not job.stock:
            allocator.tune()
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        found = {} if job.export else dataclasses.asdict(work(job))
        if job.export:
            export(job)
    except UserError as error:
        found = {'error': str(error)}
    except BaseException as error:  # whatever an engine raises is the parent's to tell
        traceback.print_exc()
        found = {'error': f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'}
    Path(answer).write_text(json.dumps(found), encoding='utf-8')


def work(job: Job) -> Result:
    """Load, make the first picture, time, and compare the pictures."""
    images = [prepared(job, np.load(file)) for file in job.images]
    begun = time.perf_counter()
    versions = import_packages(job)
    memory = PeakMemory(job.device)
    call = load(job)
    call(images[0])
    synchronize(job.device)
    first = time.perf_counter() - begun
    milliseconds, faults = passes_of(call, images, job)
    peak = memory.above_start()
    pictures = [as_array(call(image)) for image in images]
    return Result(milliseconds, first, peak, faults, mean_psnr(pictures, job.pictures),
                  difference(pictures[0], job.expected), versions)


def passes_of(call: Callable[[Any], Any], images: Sequence[Any], job: Job) -> tuple[list[list[float]], float | None]:
    """Milliseconds of the passes of each image after one that is not timed, and page faults of a pass."""
    passes = 0
    begun: list[tuple[int | None, int]] = []  # faults and passes at the start of each round

    def run(image: Any) -> Any:
        nonlocal passes
        passes += 1
        return call(image)

    runs = {str(number): partial(run, image) for number, image in enumerate(images)}
    times = time_paired(runs, job.device, job.seconds, 1, job.least,
                        before_round=lambda times: begun.append((minor_faults(), passes)))
    (before, done), after = begun[0], minor_faults()
    faults = None if before is None or after is None else (after - before) / (passes - done)
    return [list(times.milliseconds[name]) for name in runs], faults


def minor_faults() -> int | None:
    """Page faults of this process so far, without those that read from disk."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class PeakMemory:
    """Peak memory of the process, or of a GPU, above what it is now."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == 'cuda':
            self.start: int | None = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            return
        with suppress(OSError):
            Path('/proc/self/clear_refs').write_text('5')  # the peak so far is forgotten
        self.start = status('VmRSS')

    def above_start(self) -> int | None:
        """The peak so far above the start, in bytes; None where the system does not tell."""
        cuda = self.device.type == 'cuda'
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else status('VmHWM')
        return None if peak is None or self.start is None else max(0, peak - self.start)


def status(key: str) -> int | None:
    """A size in /proc/self/status in bytes."""
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f'{key}:')), None)


def as_array(picture: Any) -> np.ndarray:
    """A copy as float32."""
    return np.array(picture.cpu().numpy() if isinstance(picture, torch.Tensor) else picture, dtype=np.float32)


def mean_psnr(pictures: Sequence[np.ndarray], files: Sequence[str]) -> float:
    """dB over all channels in 0–1, not clipped, mean over the pictures; -inf where a size differs."""
    found = []
    for picture, file in zip(pictures, files, strict=True):
        wanted = np.load(file)
        if picture.shape != wanted.shape:
            return -math.inf
        found.append(plain_psnr(picture, wanted, 1.0))
    return sum(found) / len(found) if found else math.nan


def difference(picture: np.ndarray, file: str | None) -> float:
    """How far a picture is from the expected one, see Result."""
    if file is None:
        return math.nan if np.isfinite(picture).all() else math.inf
    wanted = np.load(file)
    if picture.shape != wanted.shape:
        return math.inf
    return float(np.abs(picture - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))
