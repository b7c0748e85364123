"""Trains under torchrun in two processes on the CPU, beside one process with the joint batch; kills and resumes both.

    python -m tests.training.two_processes            eight minutes on two cores
    python -m tests.training.two_processes --quick    one row of each network, no kills

The first tables have, for AMSR and for each step of MGA, the largest relative difference of a loss to that of the one
process. The last one kills one of two processes and resumes with `--auto_resume`: 'equal' is bit by bit.
"""
from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from tests.training.kill_and_resume import SAVE, STEP, difference, losses, options, write_project

TOLERANCE = 1e-5  # of float32 sums in another order, through 30 updates of Adam
KILLS = [('inside an iteration', 5, 0), ('while writing the state', 12, 0), ('during validation', 15, 0),
         ('inside an iteration', 11, 1), ('entering the next step', 12, 1), ('inside an iteration', 23, 0),
         ('inside an iteration', 29, 1)]
# Beside the paper's three steps those of its table 4, whose mask trains within the whole network.
STEPS = {'D': {}, 'A': {}, 'M': {}, 'M unsupervised': {'supervision': 'none'}, 'M end to end': {'end_to_end': True}}


def tiny(name: str, processes: int, workers: int, ema: float, network: str = 'mga') -> dict[str, Any]:
    """AMSR with a teacher, or MGA-RCAN, which has a buffer that a wrapped network sends around; a joint batch of 4."""
    opt = options(name, network, workers, ema, batch=4 // processes)
    if network == 'amsr':
        return opt
    opt['network_g'] = {'type': 'MGA', 'k': 0.5, 'split_blocks': [1, 1],
                        'backbone': {'type': 'RCAN', 'upscale': 2, 'num_feat': 8, 'num_block': 2, 'squeeze_factor': 4}}
    opt['train'].update(total_iter=STEP * len(STEPS), steps=[
        {'variant': label[0], 'iters': STEP, 'warmup': 2, 'lr': 1e-3, **more} for label, more in STEPS.items()])
    return opt


def train(folder: Path, opt: dict[str, Any], processes: int, *words: str, **environment: str) -> int:
    """`basicsr train`, under torchrun where there is more than one process; returns the exit code."""
    file = folder / f'{opt["name"]}.yml'
    file.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    command = [sys.executable, '-m', 'basicsr_amsr', 'train', '-opt', file.name, *words]
    if processes > 1:
        command[1:2] = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}', '-m']
        command += ['--launcher', 'pytorch']
    with open(folder / f'{opt["name"]}.out', 'a', encoding='utf-8') as output:
        return subprocess.run(command, cwd=folder, stdout=output, stderr=output, timeout=300,
                              env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '',
                                   'LOSSES': f'{opt["name"]}.losses', **environment}).returncode


def trained(folder: Path, opt: dict[str, Any], processes: int) -> str:
    """Train to the end; the name."""
    if train(folder, opt, processes):
        sys.exit((folder / f'{opt["name"]}.out').read_text(encoding='utf-8'))
    return opt['name']


def relative(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest relative difference of the losses; the learning rates have to be equal."""
    if a.keys() != b.keys() or a['lr'] != b['lr']:
        return float('inf')
    return max(abs(a[key] - b[key]) / abs(b[key]) for key in a if key != 'lr')


def once(folder: Path, name: str) -> str:
    """How often there is a log, and how often it has the validations of one process."""
    logs = list((folder / 'experiments' / name).glob('train_*.log'))
    validations = logs[0].read_text(encoding='utf-8').count('Validation noise\n')
    return f'{len(logs)} log, {validations} validations'


def compared(folder: Path, network: str, workers: int, ema: float, parts: int) -> tuple[list[str], bool]:
    """The cells of a row: the difference in each part of the training, and the files; and whether all are right."""
    names = [trained(folder, tiny(f'{network}_{count}_{workers}_{ema}', count, workers, ema, network), count)
             for count in (1, 2)]
    one, two = (losses(folder, name) for name in names)
    length = len(one) // parts
    worst = [max(relative(two[i], one[i]) for i in range(part * length + 1, (part + 1) * length + 1))
             for part in range(parts)]
    files = once(folder, names[1])
    validations = math.ceil(len(one) / SAVE)
    same = list(one) == list(two) and max(worst) < TOLERANCE and files == f'1 log, {validations} validations'
    return [*(f'{value:.1e}' for value in worst), files], same


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; returns 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true')
    args = parser.parse_args(argv)
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_project(folder)
        for network, columns in (('amsr', ['all iterations']), ('mga', list(STEPS))):
            table = Table('workers', 'EMA', *columns, 'files', title=f'{network}: two processes against one, largest '
                          'relative difference of a loss', title_justify='left')
            for workers, ema in [(0, 0.0)] if args.quick else [(0, 0.0), (0, 0.9), (2, 0.9)]:
                row, same = compared(folder, network, workers, ema, len(columns))
                good &= same
                table.add_row(str(workers), 'yes' if ema else 'no', *row)
            Console(width=140).print(table)

        table = Table('killed', 'in iteration', 'process', 'resumed by two', title='two processes, killed and resumed',
                      title_justify='left')
        for place, iteration, rank in [] if args.quick else KILLS:
            opt = tiny(f'killed_{place}_{rank}', 2, 2, 0.9)
            if not train(folder, opt, 2, KILL=f'{place}:{iteration}', KILL_RANK=str(rank)):
                result = 'not killed'
            elif train(folder, opt, 2, '--auto_resume'):
                result = 'not resumed'
            else:
                result = difference(folder, opt['name'], 'mga_2_2_0.9')
            good &= result == 'equal'
            table.add_row(place, str(iteration), str(rank), result)
        if not args.quick:
            Console(width=140).print(table)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
