"""Runs `basicsr infer` in this process or another, and says what may not be of what came of it."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from PIL import Image

from basicsr_amsr.cli import main
from basicsr_amsr.infer import fitting
from tests.backbones.tiny import network
from tests.infer.conftest import picture

REPOSITORY = Path(__file__).parents[3]
ERROR = 'basicsr: error: '
LIBRARIES = re.compile(r'(\w*TIFF|JPEG|LZW|Missing|tempfile\.tif|libpng error)\w*: ')  # of C: print a line before ours
GOOD = ('a good.png', 'z good.png')
ENVIRONMENT = {'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1', 'BASICSR_AMSR_COSTS': 'off'}


class Verdict(NamedTuple):
    """A case, and what is wrong with what came of it; None where nothing is."""

    what: str
    wrong: str | None


@dataclass
class Outcome:
    """Exit code (None where it raised), stdout, stderr."""

    code: int | None
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Of stderr."""
        return [line for line in self.err.splitlines() if line.strip()]


class Place:
    """A folder with weights (×2), in which each case gets a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.net = network('EDSR', 2)
        self.weights = folder / 'weights.pth'
        torch.save({'params': self.net.state_dict()}, self.weights)

    def case(self, files: Mapping[str, bytes] | None = None) -> Path:
        """A new folder, with pictures in `in`: two good ones and what is given."""
        self.count += 1
        case = self.folder / f'case {self.count}'
        (case / 'in').mkdir(parents=True)
        for number, name in enumerate(GOOD):
            Image.fromarray(picture(9, 11 + number, seed=number)).save(case / 'in' / name)
        for name, content in (files or {}).items():
            (case / 'in' / name).write_bytes(content)
        return case

    def words(self, case: Path, *more: object) -> list[str]:
        """Of the command for a case: all its pictures, to its `out`, everything computed; `more` may say otherwise."""
        given = list(map(str, more))
        words = ['infer', '--device', 'cpu', *given]
        for flag, value in (('-i', case / 'in'), ('-o', case / 'out'), ('--weights', self.weights)):
            words += [] if flag in given else [flag, str(value)]
        return words if {'--dense', '--calibration'} & set(given) else [*words, '--dense']

    def infer(self, case: Path, *more: object) -> Outcome:
        """Run it in this process; what C libraries print is seen, too."""
        said: list[str] = []
        with _captured(said), mock.patch.object(fitting, 'cache', lambda: self.folder / 'cache'):
            try:
                code: int | None = main(self.words(case, *more))
            except BaseException as error:
                code = None
                print(f'Traceback: {type(error).__name__}: {error}', file=sys.stderr)
        return Outcome(code, *said)

    def started(self, case: Path, *more: object, **settings: Any) -> subprocess.Popen[str]:
        """Start it in a process of its own."""
        environment = {**os.environ, **ENVIRONMENT, 'XDG_CACHE_HOME': str(self.folder), **settings.pop('env', {})}
        return subprocess.Popen([sys.executable, '-m', 'basicsr_amsr', *self.words(case, *more)], env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors='replace', **settings)

    def ended(self, process: subprocess.Popen[str], seconds: float = 300) -> Outcome:
        """What came of a process."""
        out, err = process.communicate(timeout=seconds)
        return Outcome(process.returncode, out, err)


@contextmanager
def _captured(said: list[str]) -> Iterator[None]:
    """Appends what is written to the descriptors of stdout and of stderr."""
    streams, kept = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile('w+', errors='replace') as out, tempfile.TemporaryFile('w+', errors='replace') as err:
        for stream, number, file in zip(streams, (1, 2), (out, err), strict=True):
            stream.flush()
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (open(number, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
                                  for number in (1, 2))
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = streams
            for number, handle in zip((1, 2), kept, strict=True):
                os.dup2(handle, number)
                os.close(handle)
            for file in (out, err):
                file.seek(0)
                said.append(file.read())


def half(folder: Path) -> list[str]:
    """Files of a folder of results that are not whole pictures."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix in ('.json', '.html'):
            continue
        try:
            with Image.open(path) as image:
                image.load()
        except Exception as error:
            found.append(f'{path.name} ({type(error).__name__})')
    return found


def wrong(found: Outcome, out: Path, codes: Collection[int], named: Iterable[str] = (), expected: Iterable[str] = (),
          quiet: bool = False) -> str | None:
    """What may not be of a run.

    Args:
        out: folder of the results. codes: that it may exit with.
        named: what one line each has to name. expected: results that have to be there.
        quiet: other lines than of errors are wrong.
    """
    if found.code not in codes:
        return f'exit code {found.code}: {" / ".join(found.lines[-2:])[:300]}'
    if 'Traceback' in found.err:
        return f'traceback: {found.lines[-1][:300]}'
    errors = [line for line in found.lines if line.startswith(ERROR)]
    if bool(errors) != (found.code == 2):
        return f'exit code {found.code} with {len(errors)} lines'
    others = [line for line in found.lines if not line.startswith(ERROR) and not LIBRARIES.match(line)]
    if quiet and others:
        return f'said {others[0][:200]}'
    for name in named:
        if sum(name in line for line in errors) != 1:
            return f'{name} is in {sum(name in line for line in errors)} lines'
    broken = half(out)
    if broken:
        return f'half: {broken[:3]}'
    absent = [name for name in expected if not (out / name).is_file()]
    return f'absent: {absent[:3]}' if absent else None


def _state(told: int, there: bool, fail: bool | None) -> str | None:
    if told > 1 or told + there != 1:
        return f'{"done" if there else "not done"}, and named in {told} lines'
    return 'done' if there and fail else 'refused' if told and fail is False else None


def results(names: Iterable[str]) -> list[str]:
    """Names of the results of pictures."""
    return [f'{Path(name).stem}_out{Path(name).suffix}' for name in names]


def all_of(place: Place, files: Mapping[str, bytes], fail: bool | None, *more: object) -> Iterator[Verdict]:
    """Pictures in one folder, each a case: it is enlarged, or one line names it; the others are done.

    Args:
        files: names, each with another stem, and contents.
        fail: whether they have to fail or must not; None: either.
    """
    case = place.case(files)
    found, out = place.infer(case, *more), case / 'out'
    trouble = wrong(found, out, (0, 2), expected=results(GOOD), quiet=True)
    if trouble and len(files) > 1:
        names = list(files)
        for part in (names[:len(names) // 2], names[len(names) // 2:]):
            yield from all_of(place, {name: files[name] for name in part}, fail, *more)
        return
    written = {path.name for path in out.glob('*')}
    for name in files:
        told = sum(f"/in/{name}'" in line or f'/{Path(name).stem}_out' in line for line in found.lines)
        there = any(each.startswith(Path(name).stem) for each in written)
        yield Verdict(name, trouble or _state(told, there, fail))
