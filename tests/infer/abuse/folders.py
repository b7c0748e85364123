"""Folders of a thousand pictures, of odd names, and that change while they are worked through."""
from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.infer.abuse.outcome import GOOD, Place, Verdict, half, results, wrong
from tests.infer.abuse.pictures import encoded
from tests.infer.conftest import picture

NAMES = ('Ünï 🦉 图', 'u\u0308 zerlegt', 'שלום', 'пример', 'space  two', "quote ' \"", 'line\nbreak', 'tab\there', '-n',
         '--weights', '%s%d%n', '{0}', '$HOME', '*?[a]', 'a;b|c&d', 'back\\slash', '[red]markup', 'ends.',
         'two.ends.png', '\u202etxt', 'e' * 245, 'ü' * 120)
BYTES = (b'broken \xff\xfe', b'latin \xe4')  # no UTF-8


def names(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Pictures, folders and weights whose names are not ASCII, or not even text."""
    data = encoded('PNG')
    case = place.case({f'{name}.png': data for name in NAMES})
    found = place.infer(case)
    fit = [name for name in NAMES if len(os.fsencode(f'{name}_out.png')) < 240]
    trouble = wrong(found, case / 'out', (0, 2), expected=[*results(GOOD), *(f'{name}_out.png' for name in fit)])
    for name in NAMES:
        there = (case / 'out' / f'{name}_out.png').is_file()
        told = sum(name in line for line in found.lines)
        yield Verdict(repr(name)[:40], trouble or (None if there or told == 1 else f'{told} lines'))
    for raw in BYTES:
        name = os.fsdecode(raw)
        case = place.case({f'{name}.png': data, f'{name} damaged.png': data[:50]})
        for more in ((), ('--json', case / 'j.json', '--report', case / 'r.html', '--overwrite')):
            found = place.ended(place.started(case, *more))
            trouble = wrong(found, case / 'out', (2,), ['damaged'], [f'{name}_out.png'])
            yield Verdict(f'{raw!r} {"reported" if more else ""}', trouble)
    for name in (*NAMES[:6], *map(os.fsdecode, BYTES)):
        case = place.case()
        folder = case / name
        folder.mkdir()
        shutil.move(case / 'in', folder / name)
        shutil.copy(place.weights, folder / f'{name}.pth')
        found = place.infer(case, '-i', folder / name, '-o', folder / 'out', '--weights', folder / f'{name}.pth')
        yield Verdict(f'folder {name!r}', wrong(found, folder / 'out', (0,), expected=results(GOOD)))
    for settings in ({'PYTHONIOENCODING': 'ascii'}, {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}):
        case = place.case({'Ünï 🦉.png': data, 'ü damaged.png': data[:50]})
        found = place.ended(place.started(case, env=settings))
        trouble = wrong(found, case / 'out', (2,), ['damaged'], ['Ünï 🦉_out.png'])
        yield Verdict(f'in {next(iter(settings.values()))}', trouble)


def thousand(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """A thousand pictures, of which every hundredth is damaged; a hundred, where not much is asked for."""
    count = 1000 if much else 100
    pictures = [encoded('PNG', picture(8, 8, seed=seed)) for seed in range(7)]
    files = {f'm{number:04}.png': pictures[number % 7][:None if number % 100 else 60] for number in range(count)}
    case = place.case(files)
    found = place.infer(case)
    bad = [name for number, name in enumerate(files) if not number % 100]
    trouble = wrong(found, case / 'out', (2,), bad, [*results(GOOD), *results(set(files) - set(bad))])
    yield from (Verdict(name, trouble) for name in files)


def changing(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Pictures come, go, are cut and replaced; results are taken away, with their folder."""
    for number in range(40 if much else 3):
        case = place.case({f'm{number:02}.png': encoded('PNG', picture(40, 40, seed=number)) for number in range(25)})
        stop = threading.Event()
        worker = threading.Thread(target=_change, args=(case, random.Random(draw.random()), stop, number % 4 == 3))
        worker.start()
        try:
            found = place.infer(case)
        finally:
            stop.set()
            worker.join()
        kept = results(GOOD) if number % 4 != 3 and found.code != 2 else []
        trouble = wrong(found, case / 'out', (0, 2), expected=kept)
        left = half(case / 'out')
        yield Verdict(f'changes {number}', trouble or (f'half: {left}' if left else None))


def _change(case: Path, draw: random.Random, stop: threading.Event, results_too: bool) -> None:
    """Change a picture of the folder, again and again."""
    def cut(path: Path) -> None:
        os.truncate(path, draw.randrange(1 + path.stat().st_size))

    def grow(path: Path) -> None:
        path.with_name(f'n{draw.randrange(10**6)}.png').write_bytes(encoded('PNG', picture(9, 9)))

    def fold(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(draw.choice(['nowhere', path.name, '/dev/null', '..']))

    changes: tuple[Callable[[Path], object], ...] = (cut, grow, fold, link, Path.unlink)
    while not stop.wait(draw.random() * 0.05):
        try:
            paths = [path for path in (case / 'in').iterdir() if path.name not in GOOD]
            draw.choice(changes)(draw.choice(paths))
            if results_too and draw.random() < 0.1:
                shutil.rmtree(case / 'out', ignore_errors=True)
        except OSError:  # it went meanwhile
            time.sleep(0.001)
