"""Processes that end at any moment: killed, terminated, interrupted, and then started again."""
from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

from tests.infer.abuse.disks import left
from tests.infer.abuse.outcome import GOOD, Place, Verdict, results, wrong
from tests.infer.abuse.pictures import encoded
from tests.infer.conftest import picture

SIGNALS = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
ENDS = {signal.SIGINT: (130, 0), signal.SIGKILL: (-9, 0), signal.SIGTERM: (-15, 0)}  # 0: it was done before


def killed(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """At random moments, after the first result or in start-up; the second run completes what the first began."""
    files = {f'm{number:02}.png': encoded('PNG', picture(90, 90, seed=number)) for number in range(60)}
    for number in range(36 if much else 3):
        sign = SIGNALS[number % 3]
        case = place.case(files)
        process = place.started(case)
        writes = number % 6 != 5  # every sixth is ended while it starts
        limit = time.monotonic() + 120
        while writes and process.poll() is None and not list((case / 'out').glob('*')) and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(draw.random() * (1.0 if writes else 3.0))
        process.send_signal(sign)
        found = place.ended(process)
        trouble = None if found.code in ENDS[sign] else f'exit code {found.code}: {found.err[-200:]}'
        if sign == signal.SIGINT and found.code == 130 and ('Traceback' in found.err or 'stopped' not in found.err):
            trouble = trouble or f'said {found.err[-200:]}'
        trouble = trouble or (f'half: {left(case / "out")}' if left(case / 'out') else None)
        if not trouble and (much or number == 0):
            again = place.infer(case)
            trouble = wrong(again, case / 'out', (0,), expected=[*results(GOOD), *results(files)])
        yield Verdict(f'{sign.name} {number}', trouble)
