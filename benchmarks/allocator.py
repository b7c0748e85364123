"""Page faults, time and memory of forward passes and training steps, with the C library's allocator as it is and tuned.

    python -m benchmarks.allocator --threads 2 --rounds 3 --json allocator.json

Every measurement is a process of its own, and the two allocators take turns. `pass`: a network with random weights in
channels-last, float32, warm; page faults and median of five passes. `training`: forward, backward and Adam on batches
in memory, without a loader. `sizes`: 40 images of random sizes, one after another; peak resident memory, and what is
still resident afterwards. Medians over the rounds.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr import allocator
from basicsr_amsr.backbones.spec import get_backbone
from basicsr_amsr.profiling.subject import parse_size

PASSES = ('CARN_M', 'RFDN', 'PAN', 'EDSR_baseline')
TRAININGS = (('FSRCNN', 16, 64), ('RFDN', 16, 48), ('CARN_M', 16, 48))  # network, batch, side of the LR crops
CHOICES = ('stock', 'tuned')


def build(name: str) -> nn.Module:
    """The plain network, x4, channels-last."""
    return get_backbone(name).create(upscale=4).to(memory_format=torch.channels_last)


def faults() -> int:
    """Page faults of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    """Resident memory in MiB."""
    return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * resource.getpagesize() >> 20


@torch.inference_mode()
def forward(name: str, size: str) -> dict[str, float]:
    """A warm pass."""
    net, image = build(name).eval(), torch.rand(1, 3, *parse_size(size)).to(memory_format=torch.channels_last)
    net(image)
    times, counts = [], []
    for _ in range(5):
        before, start = faults(), time.perf_counter()
        net(image)
        times.append(time.perf_counter() - start)
        counts.append(faults() - before)
    return {'ms': median(times) * 1e3, 'faults': median(counts)}


def training(name: str, batch: int, side: int) -> dict[str, float]:
    """Twenty steps, after three that do not count."""
    net = build(name).train()
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    low, high = torch.rand(batch, 3, side, side), torch.rand(batch, 3, 4 * side, 4 * side)
    for step in range(23):
        if step == 3:
            before, start = faults(), time.perf_counter()
        optimizer.zero_grad()
        nn.functional.l1_loss(net(low.to(memory_format=torch.channels_last)), high).backward()
        optimizer.step()
    seconds = time.perf_counter() - start
    return {'images/s': 20 * batch / seconds, 'faults': (faults() - before) / 20}


@torch.inference_mode()
def sizes(name: str) -> dict[str, float]:
    """Forty images, 30 to 400 pixels a side."""
    net, draw = build(name).eval(), random.Random(0)
    for _ in range(40):
        net(torch.rand(1, 3, draw.randint(30, 400), draw.randint(30, 400)).to(memory_format=torch.channels_last))
    return {'peak MiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, 'after MiB': resident()}


JOBS: dict[str, tuple[Any, ...]] = {
    **{f'pass {name} {size}': (forward, name, size) for name in PASSES for size in ('128x128', '270x480')},
    **{f'training {name}, batch {batch} of {side}x{side}': (training, name, batch, side)
       for name, batch, side in TRAININGS},
    **{f'sizes {name}': (sizes, name) for name in ('CARN_M', 'RFDN')}}


def in_process(job: str, choice: str, threads: int) -> dict[str, float]:
    """A job in a process of its own."""
    command = [sys.executable, '-m', 'benchmarks.allocator', '--job', job, '--threads', str(threads)]
    environment = {**os.environ, allocator.VARIABLE: 'stock' if choice == 'stock' else ''}
    ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--jobs', nargs='+', default=list(JOBS), choices=list(JOBS), metavar='JOB')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--job', choices=list(JOBS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        torch.set_num_threads(args.threads)
        allocator.tune()
        function, *values = JOBS[args.job]
        print(json.dumps(function(*values)))
        return
    table = Table(title=f'{args.threads} threads, torch {torch.__version__}, medians of {args.rounds} processes each')
    for head in ('', 'figure', *CHOICES, 'tuned / stock'):
        table.add_column(head, justify='right' if head else 'left')
    results = {}
    for job in args.jobs:
        rounds: dict[str, list[dict[str, float]]] = {choice: [] for choice in CHOICES}
        for number in range(args.rounds):
            for choice in CHOICES if number % 2 else CHOICES[::-1]:
                rounds[choice].append(in_process(job, choice, args.threads))
        results[job] = rounds
        for figure in rounds['stock'][0]:
            stock, tuned = (median(one[figure] for one in rounds[choice]) for choice in CHOICES)
            table.add_row(job, figure, f'{stock:.0f}', f'{tuned:.0f}', f'{tuned / stock:.2f}' if stock else '')
    Console(width=110).print(table)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
