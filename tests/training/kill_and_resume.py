"""Kills trainings with SIGKILL at every place, in every step of MGA too, resumes them, and compares bit by bit.

    python -m tests.training.kill_and_resume            every step, place, number of workers, with and without EMA
    python -m tests.training.kill_and_resume --quick    a few of them
    python -m tests.training.kill_and_resume --only swinir

A cell is 'equal' where all losses, learning rates and final weights (and their moving average) of killed and resumed
run are those of a run without workers that nobody killed. Runs are forks of this process that call `basicsr train`, on
the CPU.
"""
from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table

from basicsr_amsr.backbones.construct import build
from basicsr_amsr.cli import main as basicsr

STEP = 6  # iterations of each step
SAVE = 3  # and validation
PROBE = Path(__file__).resolve().with_name('probe.py')
# Where a step that begins after iteration 0 is killed; a state is saved and a validation runs after 3 and 6.
KILLS = {
    'inside an iteration': 5,
    'while writing the state': 6,
    'right after saving': 3,
    'during validation': 3,
    'after the last iteration': 6,
    'entering the next step': 6,
}
QUICK = {('D', 'entering the next step'), ('A', 'while writing the state'), ('M', 'during validation'),
         ('-', 'inside an iteration')}
NETWORKS = ['mga', 'swinir', 'amsr', 'swinir_cosine']
PLAIN = {'type': 'CARN_M', 'upscale': 2, 'num_feat': 8}
SCHEDULERS = {
    'amsr': {'type': 'CosineAnnealingRestartLR', 'periods': [18], 'restart_weights': [1], 'eta_min': 1e-7},
    'swinir': {'type': 'MultiStepLR', 'milestones': [5, 7, 13], 'gamma': 0.5},
    'swinir_cosine': {'type': 'CosineAnnealingRestartLR', 'periods': [8, 10], 'restart_weights': [1, 0.5]},
}


def write_project(folder: Path, count: int = 7) -> None:
    """Images `gt` and `lq` at scale 2, and `plain.pth`, from which AMSR starts."""
    torch.manual_seed(0)
    plain = build(PLAIN).requires_grad_(False)
    for parameter in plain.parameters():  # units that are no identity, so that masked and plain images differ
        parameter.add_(torch.randn(parameter.shape) * 0.1)
    torch.save(plain.state_dict(), folder / 'plain.pth')
    rng = np.random.default_rng(0)
    for name, size in (('gt', 48), ('lq', 24)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / name / f'{number}.png'), rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


def options(name: str, network: str = 'mga', workers: int = 0, ema: float = 0.0, batch: int = 2) -> dict[str, Any]:
    """A training of seconds, whose epochs end in the middle of everything else."""
    data = {'type': 'PairedImageDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}
    loss = {'type': 'L1Loss', 'reduction': 'mean'}
    opt: dict[str, Any] = {
        'name': name, 'model_type': 'SRModel', 'scale': 2, 'num_gpu': 0, 'manual_seed': 5, 'plugins': [str(PROBE)],
        'datasets': {'train': {**data, 'name': 'noise', 'gt_size': 32, 'use_hflip': True, 'use_rot': True,
                               'batch_size_per_gpu': batch, 'num_worker_per_gpu': workers, 'dataset_enlarge_ratio': 2},
                     'val': {**data, 'name': 'noise'}},
        'train': {'total_iter': 3 * STEP, 'ema_decay': ema, 'pixel_opt': loss, 'optim_g': {'type': 'Adam'}},
        'val': {'val_freq': SAVE, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': SAVE}}
    if network == 'mga':
        opt.update(model_type='MGAModel', network_g={
            'type': 'MGA', 'k': 0.5, 'backbone': {'type': 'FSRCNN', 'upscale': 2, 'num_feat': 8, 'num_shrink': 4}})
        opt['train'].update(coarse_opt=loss, mask_opt=loss, steps=[
            {'variant': variant, 'iters': STEP, 'warmup': 2, 'lr': 1e-3} for variant in 'DAM'])
    elif network == 'amsr':
        opt.update(model_type='AMSRModel', path={'pretrain_network_g': 'plain.pth'}, network_g={
            'type': 'AMSR', 'backbone': PLAIN, 'selection': {'patch_size': 4, 'keep': 0.5}})
        opt['train'].update(teacher_opt=loss, keep_range=[0.2, 0.8], scheduler=SCHEDULERS[network])
        opt['train']['optim_g']['lr'] = 1e-3
    else:
        # Drop path draws from the random numbers of the process; the warm-up ends and the rate falls between saves.
        opt['network_g'] = {'type': 'SwinIR', 'upscale': 2, 'img_size': 16, 'window_size': 8, 'embed_dim': 8,
                            'depths': [2, 2], 'num_heads': [2, 2], 'mlp_ratio': 2, 'drop_path_rate': 0.5,
                            'upsampler': 'pixelshuffledirect'}
        # Inputs are masked on the device, and noise is added by the data workers.
        opt['train'].update(warmup_iter=4, transforms=[{'type': 'SFM', 'target': 'lq', 'mode': 'central'}])
        opt['datasets']['train']['transforms'] = [{'type': 'GaussianNoise', 'target': 'lq', 'sigma': [0, 20]}]
        opt['train']['optim_g']['lr'] = 1e-3
        opt['train']['scheduler'] = SCHEDULERS[network]
    return opt


def train(folder: Path, opt: dict[str, Any], *words: str, kill: str = '') -> int:
    """Train in a fork of this process, in `folder`; returns the exit code, or minus the signal."""
    file = folder / f'{opt["name"]}.yml'
    file.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            output = os.open(f'{opt["name"]}.out', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.environ.update(KILL=kill, LOSSES=f'{opt["name"]}.losses')
            code = basicsr(['train', '-opt', file.name, *words])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def losses(folder: Path, name: str) -> dict[int, Any]:
    """Losses and learning rate by iteration; of an iteration that ran twice, the second."""
    lines = (folder / f'{name}.losses').read_text(encoding='utf-8').splitlines()
    return {entry.pop('iter'): entry for entry in map(json.loads, lines)}


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The final weights, and their moving average."""
    saved = torch.load(folder / 'experiments' / name / 'models' / 'net_g_latest.pth', weights_only=True)
    return {f'{key}.{part}': value for key, state in saved.items() for part, value in state.items()}


def difference(folder: Path, name: str, other: str) -> str:
    """'equal', or the first thing that is not."""
    a, b = losses(folder, name), losses(folder, other)
    if list(a) != list(b):
        return f'iterations {sorted(a.keys() ^ b.keys())} missing'
    for iteration in a:
        if a[iteration] != b[iteration]:
            return f'differs from {iteration} on'
    x, y = weights(folder, name), weights(folder, other)
    same = x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)
    return 'equal' if same else 'weights differ'


def killed_and_resumed(folder: Path, opt: dict[str, Any], kill: str, reference: str) -> str:
    """Train, die, resume, compare with the run of the name `reference`."""
    code = train(folder, opt, kill=kill)
    if code != -signal.SIGKILL:
        return f'not killed: code {code}'
    code = train(folder, opt, '--auto_resume')
    if code != 0:
        return f'not resumed: code {code}'
    if list((folder / 'experiments').glob(f'{opt["name"]}_archived*')):
        return 'started afresh'
    return difference(folder, opt['name'], reference)


def rows_of(network: str, quick: bool) -> list[tuple[str, str, int]]:
    """Step, place, iteration."""
    steps = 'DAM' if network == 'mga' else '-'
    rows = [(step, place, number * STEP + iteration) for number, step in enumerate(steps)
            for place, iteration in KILLS.items() if place != 'entering the next step' or step in 'DA']
    return [row for row in rows if row[:2] in QUICK] if quick else rows


def table_of(folder: Path, network: str, quick: bool) -> tuple[Table, list[str]]:
    """The table of a network, and what stands in its cells."""
    columns = [(0, 0.0), (2, 0.9)] if quick else [(0, 0.0), (0, 0.9), (2, 0.0), (2, 0.9)]
    headings = [f'{workers} workers, {"EMA" if ema else "no EMA"}' for workers, ema in columns]
    table = Table('step', 'killed', 'in iteration', *headings, title=network, title_justify='left')
    references = {ema: f'{network}_{ema}' for _, ema in columns}
    for ema, name in references.items():
        if train(folder, options(name, network, 0, ema)):
            sys.exit((folder / f'{name}.out').read_text())
    cells = []
    for step, place, iteration in rows_of(network, quick):
        row = [killed_and_resumed(folder, options(f'{network}_{step}_{place}_{workers}_{ema}', network, workers, ema),
                                  f'{place}:{iteration}', references[ema]) for workers, ema in columns]
        table.add_row(step, place, str(iteration), *row)
        cells += row
    return table, cells


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; returns 1 where a cell is not 'equal'."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='a few rows')
    parser.add_argument('--only', choices=NETWORKS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # a fork of a process that has threads would not have them
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        write_project(Path(scratch))
        for network in [args.only] if args.only else NETWORKS[:3 if args.quick else None]:
            table, found = table_of(Path(scratch), network, args.quick)
            Console(width=140).print(table)
            cells += found
    print(f'{cells.count("equal")} of {len(cells)} equal')
    return 0 if cells.count('equal') == len(cells) else 1


if __name__ == '__main__':
    sys.exit(main())
