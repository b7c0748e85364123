"""Counts what becomes of hostile input to `basicsr infer`: exit code, one line for each, no half file, the rest done.

    python -m tests.infer.abuse [KIND …] [--much] [--seed 1]

A kind is one of those that it prints; --much tries many more, in about a quarter of an hour.
"""
from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from tests.infer.abuse.kinds import KINDS, verdicts
from tests.infer.abuse.outcome import Place


def main() -> int:
    """Print cases tried and survived of each kind, and what did not survive; exit code 1 where something did not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kinds', nargs='*', metavar='KIND')
    parser.add_argument('--much', action='store_true')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    os.environ['BASICSR_AMSR_ALLOCATOR'] = 'stock'
    total, failed = 0, 0
    print('| kind | tried | survived | seconds |\n|---|---|---|---|')
    for kind in args.kinds or KINDS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = list(verdicts(kind, Place(Path(folder)), random.Random(args.seed), args.much))
        bad = [each for each in found if each.wrong]
        total, failed = total + len(found), failed + len(bad)
        print(f'| {kind} | {len(found)} | {len(found) - len(bad)} | {time.perf_counter() - start:.0f} |', flush=True)
        for each in bad[:20]:
            print(f'  {each.what}: {each.wrong}', flush=True)
    print(f'| all | {total} | {total - failed} | |')
    return int(failed > 0)


if __name__ == '__main__':
    raise SystemExit(main())
