"""Kills `basicsr prepare` with SIGKILL at random moments, resumes it, and compares with a run that nobody killed.

    python -m tests.data.prepare.kill_prepare --hr DIR --kills 8            folders
    python -m tests.data.prepare.kill_prepare --hr DIR --kills 8 --lmdb     LMDBs

The signal goes to the whole process group, so to the workers too; every third one while the command starts and plans,
the others while it works. After each, every file under a final name must be, byte by byte, that of the run that nobody
killed. At the end the trees must be equal: names and bytes, of an LMDB keys and values.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lmdb

Content = dict[str, str]


def command(hr: Path, out: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    """`basicsr prepare`, started as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, '-m', 'basicsr_amsr', 'prepare', '--hr', str(hr), '--out', str(out), '--recursive', *words],
        stdout=subprocess.PIPE, text=True, start_new_session=True)


def finished(hr: Path, out: Path, words: Sequence[str]) -> tuple[float, float]:
    """Let it run to its end: seconds until it works, and from then on."""
    start = time.perf_counter()
    process = command(hr, out, words)
    print(f'  {process.stdout.readline().strip()}')
    begun = time.perf_counter()
    text, _ = process.communicate()
    if process.returncode:
        sys.exit(f'exit code {process.returncode}')
    print('\n'.join(f'  {line}' for line in text.splitlines() if '/s' in line or 'Nothing' in line), flush=True)
    return begun - start, time.perf_counter() - begun


def kill(hr: Path, out: Path, words: Sequence[str], seconds: float, from_start: bool) -> bool:
    """Kill it so long after its start, or after it began to work; False where it was through before."""
    process = command(hr, out, words)
    if not from_start:
        process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def content(out: Path, finals_only: bool = False) -> Content:
    """{file or LMDB:key: digest} of all below `out`, or of what has its final name; the lock files are empty."""
    found: Content = {}
    for path in sorted(out.rglob('*')):
        name = path.relative_to(out)
        if not path.is_file() or path.name in ('lock', 'lock.mdb'):
            continue
        if finals_only and any(part.startswith('.') for part in name.parts):
            continue
        if path.name != 'data.mdb':
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
            continue
        with lmdb.open(str(path.parent), readonly=True, lock=False) as env, env.begin(buffers=True) as txn:
            found.update({f'{name.parent}:{bytes(key).decode()}': hashlib.sha256(value).hexdigest()
                          for key, value in txn.cursor()})
    return found


def compare(hr: Path, folder: Path, words: Sequence[str], kills: int) -> bool:
    """Whether everything was equal."""
    startup, seconds = finished(hr, folder / 'whole', words)
    expected, out = content(folder / 'whole'), folder / 'killed'
    done = wrong = 0
    for number in range(1, kills + 1):
        early = number % 3 == 0
        wait = random.uniform(0, startup) if early else random.uniform(0, 1.6 * seconds / (kills - kills // 3))
        if not kill(hr, out, words, wait, early):
            print(f'  {number}: it was through before the signal')
            break
        done += 1
        finals = content(out, finals_only=True) if out.exists() else {}
        bad = [name for name, digest in finals.items() if expected.get(name) != digest]
        wrong += len(bad)
        parts = len(list(out.rglob('.*.part'))) if out.exists() else 0
        print(f'  {number}: killed {wait:5.2f} s after its {"start" if early else "first image"}; {len(finals)} files '
              f'under final names, {len(bad)} wrong; {parts} hidden half-written', flush=True)
    finished(hr, out, words)
    equal = content(out) == expected
    print(f'  {done} kills; wrong files under final names: {wrong}; {len(expected)} names and contents at the end: '
          f'{"equal" if equal else "DIFFERENT"}', flush=True)
    return equal and not wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Print what is found; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--hr', type=Path, required=True, metavar='DIR')
    parser.add_argument('--scale', default='2,3,4')
    parser.add_argument('--crop', default='480')
    parser.add_argument('--lmdb', action='store_true')
    parser.add_argument('--kills', type=int, default=8)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', metavar='DIR', help='where to write (default: the temporary folder)')
    args = parser.parse_args(argv)
    random.seed(args.seed)
    words = ['--scale', args.scale, '--crop', args.crop, '--workers', str(args.workers)]
    words += ['--lmdb'] if args.lmdb else []
    print(f'basicsr prepare {" ".join(words)}', flush=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        return 0 if compare(args.hr, Path(folder), words, args.kills) else 1


if __name__ == '__main__':
    sys.exit(main())
