"""Processes of their own for contenders, one alive at a time."""
from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from basicsr_amsr.bench import worker
from basicsr_amsr.bench.job import Failed, Job, Result


def launch(job: Job, timeout: float) -> Result | None:
    """Run a job in a new process and wait for its end; None of a job that exports.

    The process is forked from one that has imported everything and computed nothing, so that it starts in milliseconds
    with no threads of PyTorch or any engine; where there is no fork it is a new interpreter.

    Args:
        timeout: seconds after which it is ended.

    Raises:
        Failed: it crashed, raised an error, or took too long.
    """
    context: Any = multiprocessing.get_context(_method())
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder) / 'answer.json', Path(folder) / 'log.txt'
        process = context.Process(target=worker.main, args=(job, str(answer), str(log)))
        process.start()
        try:
            process.join(timeout)
            late = process.is_alive()
        finally:
            _end(process)
        if late:
            raise Failed(f'it was ended after {timeout:g} s')
        if not answer.exists():
            raise Failed(_last_words(process.exitcode, log))
        found = json.loads(answer.read_text(encoding='utf-8'))
    if 'error' in found:
        raise Failed(found['error'])
    return Result(**found) if found else None


def _method() -> str:
    methods = multiprocessing.get_all_start_methods()
    if 'forkserver' not in methods:
        return 'spawn'
    multiprocessing.set_forkserver_preload([worker.__name__])
    return 'forkserver'


def _end(process: Any) -> None:
    """Kill what still runs of it, and all that it started, such as a compiler's own processes."""
    with suppress(AttributeError, OSError):  # no groups on this system, or nobody is left
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _last_words(code: int | None, log: Path) -> str:
    """How a process ended that did not answer."""
    how = f'by signal {signal.Signals(-code).name}' if code is not None and code < 0 else f'with code {code}'
    lines = log.read_text(errors='replace').split('\n') if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), '')
    return f'its process ended {how}' + (f': {last[:200]}' if last else '')
