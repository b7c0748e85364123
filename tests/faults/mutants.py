"""Mutants of the shipped option files: a key dropped or renamed, a value of another type or that of another key.

    python -m tests.faults.mutants 2000 200      counts: 2000 through check and construction, 200 through two iterations
"""
from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import numpy as np
import torch
import yaml

from basicsr_amsr import resources
from basicsr_amsr.cli import main
from basicsr_amsr.options.option_file import OptionFile

FOLDER = Path(__file__).parents[2] / 'options'
FILES = sorted(FOLDER.glob('*.yml')) + sorted((FOLDER / 'test').glob('*.yml'))
SMALL = ('fsrcnn', 'pan', 'rfdn', 'carn_m', 'srresnet', 'dncnn')  # built in a few milliseconds
SIDE = 96
PHASES = ('train', 'val', 'test')
OPERATIONS = ('drop', 'rename', 'retype', 'swap')
OTHER_TYPES = ('text', '7', '1e-4', '', -1, 0, 1, 3, 10**9, 0.5, -0.5, 1e30, float('nan'), True, False, None, [], {},
               [1, 2], ['a'], {'type': 'L1Loss'}, [{'type': 'Nothing'}], 'ä' * 300)

Place = tuple[Any, ...]


class Mutant(NamedTuple):
    """An option file with one change.

    Attributes:
        command: train or test.
        what: the change, for messages.
        operation: of OPERATIONS.
        options: the changed options.
    """

    command: str
    what: str
    operation: str
    options: dict[str, Any]


class Outcome(NamedTuple):
    """What became of a mutant: exit code (None where it raised), the lines of stderr, files that were left."""

    code: int | None
    lines: list[str]
    left: list[str]

    def wrong(self, mutant: Mutant) -> str | None:
        """What may not be: a traceback, an exit code 2 without lines or with new files, a renamed key that passes."""
        if self.code not in (0, 2):
            return f'exit code {self.code}'
        if self.code == 2 and not any(line.startswith('basicsr: error: ') for line in self.lines):
            return 'no line'
        if self.code == 2 and self.left:
            return f'left {self.left[:3]}'
        if self.code == 0 and mutant.operation == 'rename':
            return 'a renamed key passes'
        return None


class Built(BaseException):
    """Everything is built: the run would start now."""


def original(file: Path) -> tuple[str, dict[str, Any]]:
    """The command and options of a shipped file, on a few small images, for two iterations."""
    source, training = OptionFile.read(file), file.parent == FOLDER
    if training:
        source.use_demo()
    options = {key: value for key, value in source.options.items() if key != 'demo'}
    for key, values in options['datasets'].items():
        values.update(dataroot_gt='images', **({'num_worker_per_gpu': 0} if key == 'train' else {}))
    if not training:
        options['datasets'] = dict(list(options['datasets'].items())[:2])
    paths = options.get('path') or {}
    for key, value in paths.items():
        if isinstance(value, str) and not resources.resolve(value).exists() and '/' in value:
            paths[key] = None
    options['num_gpu'] = 0
    if training:
        options['train']['total_iter'] = 2
        options['logger'].update(print_freq=1, save_checkpoint_freq=2, use_tb_logger=False)
        if 'steps' in options['train']:
            options['train']['steps'] = [{'variant': variant, 'iters': 1, 'warmup': 0} for variant in 'DM']
        if 'periods' in options['train'].get('scheduler', {}):
            options['train']['scheduler']['periods'] = [2]
    return ('train' if training else 'test'), options


def places(values: Any, place: Place = ()) -> Iterator[Place]:
    """Every key, and every item of a list, with what leads to it."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


def holder(options: dict[str, Any], place: Place) -> Any:
    """What holds the last key."""
    held: Any = options
    for key in place[:-1]:
        held = held[key]
    return held


def mutant(file: Path, draw: random.Random) -> Mutant:
    """A change of the file."""
    command, options = original(file)
    options = copy.deepcopy(options)
    operation = draw.choice(OPERATIONS)
    found = [place for place in places(options) if operation != 'rename' or renamable(place)]
    place = draw.choice(found)
    held, key = holder(options, place), place[-1]
    what = f'{operation} {": ".join(map(str, place))}'
    if operation == 'drop':
        del held[key]
    elif operation == 'rename':
        new = draw.choice([f'{key}s', f'{key}_', key[:-1], f'{key[1:]}', key[::-1], key.upper()])
        if new == key or new in held:
            new = f'{key}x'
        position = list(held).index(key)
        items = list(held.items())
        items[position] = (new, held[key])
        held.clear()
        held.update(items)
        what += f' to {new}'
    elif operation == 'retype':
        held[key] = copy.deepcopy(draw.choice(OTHER_TYPES))
        what += f' to {held[key]!r:.40}'
    else:
        other = draw.choice([one for one in places(options) if one[:len(place)] != place and place[:len(one)] != one])
        with_it = holder(options, other)
        held[key], with_it[other[-1]] = with_it[other[-1]], held[key]
        what += f' with {": ".join(map(str, other))}'
    return Mutant(command, f'{file.name}: {what}', operation, options)


def renamable(place: Place) -> bool:
    """Whether another name is a mistake: names of data sets and metrics are free."""
    free = (len(place) == 2 and place[0] == 'datasets') or (place[:2] == ('val', 'metrics') and len(place) == 3)
    return isinstance(place[-1], str) and not free


def mutants(count: int, seed: int, small: bool = False) -> Iterator[Mutant]:
    """So many, always the same for a seed."""
    draw = random.Random(seed)
    files = [file for file in FILES if not small or any(name in file.stem for name in SMALL)]
    for _ in range(count):
        yield mutant(draw.choice(files), draw)


def make_images() -> None:
    """Two images in the current folder."""
    Path('images').mkdir()
    for name, value in (('a', 60), ('b', 200)):
        ramp = np.linspace(0, value, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)
        cv2.imwrite(f'images/{name}.png', ramp)


def outcome(one: Mutant, build_only: bool) -> Outcome:
    """Run it in the current folder, until everything is built or to its end."""
    Path('mutant.yml').write_text(yaml.safe_dump(one.options, sort_keys=False, allow_unicode=True), encoding='utf-8')
    before = contents()
    stdout, stderr = io.StringIO(), io.StringIO()
    with (contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr),
          stopping() if build_only else contextlib.nullcontext()):
        try:
            code: int | None = main([one.command, '-opt', 'mutant.yml'])
        except Built:
            code = 0
        except BaseException:
            code = None
            traceback.print_exc()
    left = [path for path in contents() if path not in before and path not in ('experiments', 'results')]
    if code == 0:
        clear(left)
    return Outcome(code, stderr.getvalue().splitlines(), left)


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Stop where training or testing would begin, with weights as memory holds them."""
    def stop(*_: Any, **__: Any) -> None:
        raise Built

    nothing = {name: mock.patch.object(torch.nn.init, name, lambda tensor, *_, **__: tensor)
               for name in ('kaiming_normal_', 'kaiming_uniform_', 'uniform_', 'trunc_normal_', 'normal_')}
    with contextlib.ExitStack() as stack:
        for patch in nothing.values():
            stack.enter_context(patch)
        stack.enter_context(mock.patch('basicsr.train.MessageLogger', stop))
        stack.enter_context(mock.patch('basicsr_amsr.training.trained_model.TrainedModel.validation', stop))
        yield


def contents() -> list[str]:
    """Everything below the current folder."""
    return sorted(str(path) for path in Path().rglob('*'))


def clear(paths: list[str]) -> None:
    """Take away what a run wrote."""
    for path in sorted(paths, reverse=True):
        Path(path).rmdir() if Path(path).is_dir() else Path(path).unlink()


def report(count: int, seed: int, build_only: bool) -> None:
    """Print the counts, and what may not be."""
    counts: Counter[str] = Counter()
    wrong = []
    for one in mutants(count, seed):
        found = outcome(one, build_only)
        counts[f'{one.operation}: exit {found.code}'] += 1
        problem = found.wrong(one)
        if problem:
            wrong.append(f'{problem}: {one.what}: {" / ".join(found.lines[-2:])[:300]}')
            clear(found.left)
    print(f'{count} mutants through {"check and construction" if build_only else "two iterations"}:')
    print(*(f'  {key}: {number}' for key, number in sorted(counts.items())), sep='\n')
    print(*wrong, f'{len(wrong)} wrong', sep='\n')


if __name__ == '__main__':
    os.environ['BASICSR_AMSR_COSTS'] = 'off'
    numbers = [int(word) for word in sys.argv[1:3]]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_images()
        for number, build_only in zip(numbers, (True, False), strict=False):
            report(number, 1, build_only)
        os.chdir('/')
