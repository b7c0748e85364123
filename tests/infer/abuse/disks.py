"""Disks that are full or read-only, and results that cannot be where they should."""
from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.infer.abuse.outcome import GOOD, Place, Verdict, half, results, wrong
from tests.infer.abuse.pictures import encoded
from tests.infer.conftest import picture

MANY = {f'm{number:02}.png': encoded('PNG', picture(60, 60, seed=number)) for number in range(8)}


def limited(size: int) -> Callable[[], None]:
    """Lets a process write no file of more bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A disk of that size at `folder`; whether this process may make one."""
    folder.mkdir()
    made = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)], check=False,
                          capture_output=True).returncode == 0
    try:
        yield made
    finally:
        if made:
            subprocess.run(['umount', str(folder)], check=True)


@contextmanager
def fixed(path: Path) -> Iterator[bool]:
    """Nobody, root neither, can change the file or folder; whether this process may do so."""
    made = subprocess.run(['chattr', '+i', str(path)], check=False, capture_output=True).returncode == 0
    try:
        yield made
    finally:
        if made:
            subprocess.run(['chattr', '-i', str(path)], check=True)


def full(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Files of a few kilobytes at most (RLIMIT_FSIZE); a disk of a few."""
    for size in (0, 100, 4000, 20000) if much else (4000,):
        case = place.case(MANY)
        found = place.ended(place.started(case, preexec_fn=limited(size)))
        yield Verdict(f'files of {size} bytes', wrong(found, case / 'out', (2,)))
    for more in (('--json', 'j.json'), ('--report', 'r.html'), ('--save_mask',)) if much else ():
        case = place.case(MANY)
        words = [case / word if '.' in word else word for word in more]
        found = place.ended(place.started(case, *words, preexec_fn=limited(4000)))
        yield Verdict(f'files of 4000 bytes, {more[0]}', wrong(found, case / 'out', (2,)))
    for size in ('4k', '32k', '64k') if much else ('32k',):
        case = place.case(MANY)
        with small_disk(case / 'out', size) as made:
            if made:
                found = place.infer(case)
                yield Verdict(f'disk of {size}', wrong(found, case / 'out', (2,), ['no space left']))
                for path in list((case / 'out').iterdir())[:2]:
                    path.unlink()
                first = {path: path.read_bytes() for path in (case / 'out').iterdir()}
                again = place.infer(case)
                kept = all(path.read_bytes() == content for path, content in first.items())
                trouble = wrong(again, case / 'out', (2,), ['no space left'])
                yield Verdict(f'disk of {size}, with some room', trouble or (None if kept else 'changed what was done'))


def read_only(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Folders and files that cannot be written to, and names that cannot be made."""
    case = place.case()
    with small_disk(case / 'out', '1m') as made:
        if made and subprocess.run(['mount', '-o', 'remount,ro', str(case / 'out')], check=False).returncode == 0:
            yield Verdict('a read-only disk', wrong(place.infer(case), case / 'out', (2,), ['out']))
            found = place.infer(case, '-o', case / 'out' / 'deeper')
            yield Verdict('below it', wrong(found, case / 'out', (2,), ['deeper']))
    case = place.case()
    (case / 'out').mkdir()
    (case / 'out' / results(GOOD)[0]).mkdir()
    yield Verdict('a folder of the name of a result', wrong(place.infer(case, '--overwrite'), case / 'elsewhere', (2,),
                                                            [results(GOOD)[0]]))
    case = place.case()
    os.symlink(case / 'no' / 'such', case / 'out')
    yield Verdict('a link to nowhere', wrong(place.infer(case), case / 'elsewhere', (0, 2)))
    for what, target in (('a file', 'file'), ('below a file', 'file/deeper'), ('a device', '/dev/null'),
                         ('a long name', 'o' * 300), ('a long path', '/'.join(['o' * 100] * 50)), ('/proc', '/proc/o')):
        case = place.case()
        (case / 'file').write_bytes(b'kept')
        found = place.infer(case, '-o', case / target)
        kept = (case / 'file').read_bytes() == b'kept'
        yield Verdict(f'to {what}', wrong(found, case / 'elsewhere', (2,)) or (None if kept else 'overwritten'))
    for flag in ('--json', '--report'):
        for target in ('no/such.x', 'in', 'o' * 300):
            case = place.case()
            found = place.infer(case, flag, case / target)
            yield Verdict(f'{flag} to {target[:20]}', wrong(found, case / 'out', (2,)))
    case = place.case()
    (case / 'out').mkdir()
    with fixed(case / 'out') as fast:
        if fast:
            yield Verdict('a folder that stays as it is', wrong(place.infer(case), case / 'out', (2,), ['out']))
    done = place.infer(case)
    with fixed(case / 'out' / results(GOOD)[0]) as fast:
        if fast:
            yield Verdict('a result that stays as it is', wrong(done, case / 'out', (0,)) or wrong(
                place.infer(case, '--overwrite'), case / 'out', (2,), results(GOOD)[:1], results(GOOD)))


def left(folder: Path) -> list[str]:
    """What a killed process may leave: hidden files alone."""
    return [name for name in half(folder) if not name.startswith('.')]
