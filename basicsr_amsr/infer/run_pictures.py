"""Pictures through an `Upscaler`: the next ones are read and the last ones written while one is computed."""
from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.infer import picture, pixels
from basicsr_amsr.infer.jobs import Job
from basicsr_amsr.infer.picture import Picture
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.infer.writing import check_format, write
from basicsr_amsr.reasons import is_out_of_memory, reason

AHEAD = 2  # pictures that are read before they are needed, and that wait to be written
COPIES = 3  # of an enlarged picture in float32 that there are at a time
STOPS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of writing; no later picture fares better


@dataclass
class Done:
    """What became of a picture.

    Attributes:
        source, target: files. status: 'done', 'skipped' (the file was there) or 'failed'.
        size: height and width of the enlarged picture.
        seconds: to read, compute and write. keep: share of the patches that was computed.
        notes: what could not be kept. error: what went wrong, in one line.
    """

    source: Path
    target: Path
    status: Literal['done', 'skipped', 'failed'] = 'done'
    size: tuple[int, int] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    keep: float | None = None
    notes: tuple[str, ...] = ()
    error: str = ''


class Stopped(UserError):
    """Nothing more can be written."""


Look = Callable[[Done, Picture, Picture], None]


def run(jobs: Sequence[Job], upscale: Upscaler, ext: str, overwrite: bool, look: Look | None = None) -> Iterator[Done]:
    """What becomes of each job, in order.

    Args:
        jobs: what is read and written.
        upscale: the network.
        ext: as in `jobs_of`.
        overwrite: compute what is there already.
        look: called with each picture and its enlargement, in the thread that computes.

    Raises:
        Stopped: the disk is full or read-only; what was done before is complete.
    """
    waiting = deque(jobs)
    reading: deque[tuple[Job, Future[tuple[Picture, float]] | None]] = deque()
    written: deque[tuple[Done, Future[float] | None]] = deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(AHEAD) as writer:
        try:
            while waiting or reading:
                while waiting and len(reading) <= AHEAD:
                    job = waiting.popleft()
                    there = not overwrite and finished(job, ext)
                    reading.append((job, None if there else reader.submit(_timed_read, job, upscale.scale)))
                job, future = reading.popleft()
                written.append(_compute(job, future, upscale, ext, look, writer))
                while written and (len(written) > AHEAD or written[0][1] is None or written[0][1].done()):
                    yield _settled(*written.popleft())
            while written:
                yield _settled(*written.popleft())
        finally:
            reader.shutdown(wait=False, cancel_futures=True)
            writer.shutdown(wait=True, cancel_futures=True)  # what is being written is finished


def finished(job: Job, ext: str) -> bool:
    """Whether the file of a job is there; as files appear whole or not at all, it is complete."""
    return job.target.exists() or job.target_for(True, ext).exists()


def _timed_read(job: Job, scale: float) -> tuple[Picture, float]:
    start = time.perf_counter()
    size = picture.size_of(job.source)
    if size is not None:
        _check_memory(job.source, size, scale)
    found = picture.read(job.source)
    return found, time.perf_counter() - start


def _check_memory(path: Path, size: tuple[int, int], scale: float) -> None:
    needed = COPIES * 4 * 3 * size[0] * size[1] * scale**2
    names = getattr(os, 'sysconf_names', {})
    if 'SC_PHYS_PAGES' not in names:
        return
    there = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    if needed > there:
        raise UserError(f"'{path}', {size[1]}x{size[0]}, needs about {needed / 2**30:.0f} GiB enlarged by {scale:g}, "
                        f'of {there / 2**30:.0f}: cut it into parts.')


def _compute(job: Job, future: Future[tuple[Picture, float]] | None, upscale: Upscaler, ext: str,
             look: Look | None, writer: ThreadPoolExecutor) -> tuple[Done, Future[float] | None]:
    done = Done(job.source, job.target)
    if future is None:
        done.status = 'skipped'
        return done, None
    try:
        given, done.seconds['read'] = future.result()
        done.target = job.target_for(given.has_alpha and not _opaque(given), ext)
        height, width = given.array.shape[:2]
        check_format(done.target, round(height * upscale.scale), round(width * upscale.scale))
        start = time.perf_counter()
        large = upscale.enlarge_picture(given)
        done.seconds['compute'] = time.perf_counter() - start
        done.size, done.keep, done.notes = (large.array.shape[0], large.array.shape[1]), upscale.last_keep, given.notes
        if look is not None:
            look(done, given, large)
    except Exception as error:
        if not isinstance(error, (UserError, OSError)) and not is_out_of_memory(error):
            raise
        return _failed(done, error), None
    return done, writer.submit(_timed_write, done, large)


def _opaque(given: Picture) -> bool:
    return bool(np.all(given.array[..., -1] == pixels.largest(given.array)))


def _timed_write(done: Done, large: Picture) -> float:
    start = time.perf_counter()
    done.notes += write(done.target, large)
    return time.perf_counter() - start


def _settled(done: Done, future: Future[float] | None) -> Done:
    if future is None:
        return done
    try:
        done.seconds['write'] = future.result()
    except (UserError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno in STOPS:
            raise Stopped(f"'{done.target}' cannot be written: {(error.strerror or '').lower()}. What was done before "
                          'is complete; the same command goes on from here.') from error
        _failed(done, error)
    return done


def _failed(done: Done, error: BaseException) -> Done:
    done.status, done.error = 'failed', str(error) if isinstance(error, UserError) else f'{reason(error)}.'
    if str(done.source) not in done.error and str(done.target) not in done.error:
        done.error = f"'{done.source}': {done.error}"
    return done


def mask_of(upscale: Upscaler, given: Picture) -> Picture:
    """What was computed of a picture, white, as a gray picture of its size."""
    active = upscale.active(pixels.of_array(given.array))
    height, width = given.array.shape[:2]
    if active is None:
        return Picture(np.full((height, width), 255, np.uint8))
    assert upscale.form.calibration is not None
    side = upscale.form.calibration.selection().patch_size
    wide = torch.repeat_interleave(torch.repeat_interleave(active[0], side, 0), side, 1)[:height, :width]
    return Picture(wide.cpu().numpy().astype(np.uint8) * 255)
