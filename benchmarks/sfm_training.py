"""Trains a compact network with and without SFM, for the same iterations and several seeds, and tests what neither saw.

    python benchmarks/sfm_training.py denoise --train DIR --test DIR --out experiments/sfm
    python benchmarks/sfm_training.py sr --train DIR --test DIR --out experiments/sfm

`denoise`: a small DnCNN, blind to sigma 55, tested up to sigma 100. `sr`: a small MSRResNet x2 for one kernel, tested
on wider, narrower and disk-shaped ones. Trainings are `basicsr train --auto_resume` on the CPU: the same command goes
on where it was interrupted. Prints PSNR by degradation, and draws the frequency picture of the first seed.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

from basicsr_amsr.cli.freq import load_images
from basicsr_amsr.cli.option_network import read_options, restoring_model
from basicsr_amsr.sfm.conditions import Condition, of_values
from basicsr_amsr.sfm.restoration import INPUT, restore
from basicsr_amsr.sfm.restoration_picture import draw

SFM = {'type': 'SFM', 'rate': 0.5}
FAST = {'channels_last': True, 'amp': 'bf16', 'compile': True}  # docs/training_speed.md
KERNEL = {'type': 'GaussianBlur', 'sigma': 1.0}
SEEN = {'denoise': 'noise, sigma 0 to 55', 'sr': 'Gaussian blur, sigma 1'}


def denoise(masked: bool) -> dict[str, Any]:
    """Clean images are masked before the noise."""
    masking = [{**SFM, 'mode': 'targeted'}] if masked else []
    data = {'color': 'gray', 'gt_size': 40, 'batch_size_per_gpu': 32,
            'degradations': [*masking, {'type': 'GaussianNoise', 'sigma': [0, 55], 'clip': False}]}
    return {'scale': 1, 'datasets': {'train': data}, 'network_g': {'type': 'DnCNN', 'num_feat': 32, 'num_layer': 9},
            'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'MSELoss'}}}


def sr(masked: bool) -> dict[str, Any]:
    """LR images are masked after the degradation."""
    data = {'gt_size': 64, 'batch_size_per_gpu': 16, 'degradations': [KERNEL, {'type': 'Downscale', 'scale': 2}]}
    transforms = [{**SFM, 'mode': 'central', 'target': 'lq'}] if masked else None
    network = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 32, 'num_block': 6}
    training = {'optim_g': {'type': 'Adam', 'lr': 5e-4}, 'pixel_opt': {'type': 'L1Loss'}, 'transforms': transforms}
    return {'scale': 2, 'datasets': {'train': data}, 'network_g': network, 'train': training}


def conditions(task: str) -> list[Condition]:
    """What networks are tested on; noise as the authors clip it."""
    if task == 'denoise':
        return of_values('noise', [15, 25, 50, 60, 70, 80, 90, 100], 1, 'bicubic')
    kernels = {'blur': [0.4, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5], 'disk': [1, 2, 3]}
    return [one for kind, levels in kernels.items() for one in of_values(kind, levels, 2, 'bicubic')]


def train(args: argparse.Namespace, name: str, options: dict[str, Any], seed: int) -> Path:
    """Train to the end unless that is done, and return an option file with the weights."""
    folder = Path(args.out) / args.task
    folder.mkdir(parents=True, exist_ok=True)
    options = {'name': name, 'model_type': 'SRModel', 'num_gpu': 0, 'manual_seed': seed, **options}
    options['datasets']['train'] = {
        'type': 'DegradedPairDataset', 'dataroot_gt': [str(Path(one).resolve()) for one in args.train],
        'use_hflip': True, 'use_rot': True, 'num_worker_per_gpu': 1, 'dataset_enlarge_ratio': 100,
        **options['datasets']['train']}
    options['train'].update(FAST, total_iter=args.iterations, scheduler={
        'type': 'MultiStepLR', 'milestones': [args.iterations * 6 // 10, args.iterations * 9 // 10], 'gamma': 0.2})
    options['logger'] = {'print_freq': 200, 'save_checkpoint_freq': 1000, 'use_tb_logger': False}
    weights = folder.resolve() / f'experiments/{name}/models/net_g_latest.pth'
    file = folder / f'{name}.yml'
    file.write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    if not weights.is_file():
        command = [sys.executable, '-m', 'basicsr_amsr', 'train', '-opt', file.name, '--auto_resume']
        environment = {**os.environ, 'OMP_NUM_THREADS': str(args.threads)}
        with open(folder / f'{name}.log', 'a', encoding='utf-8') as log:
            subprocess.run(command, cwd=folder, check=True, stdout=log, stderr=log, env=environment)
    tested = folder / f'{name}_test.yml'
    tested.write_text(yaml.safe_dump({**options, 'path': {'pretrain_network_g': str(weights)}}, sort_keys=False),
                      encoding='utf-8')
    return tested


def main(argv: Sequence[str] | None = None) -> None:
    """Train, test, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('task', choices=['denoise', 'sr'])
    parser.add_argument('--train', nargs='+', required=True, metavar='DIR', help='clean images to train on')
    parser.add_argument('--test', required=True, metavar='DIR', help='clean images to test on')
    parser.add_argument('--max-images', type=int)
    parser.add_argument('--out', default='experiments/sfm', metavar='DIR')
    parser.add_argument('--iterations', type=int, default=6000)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--threads', type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    make = {'denoise': denoise, 'sr': sr}[args.task]
    files = {(name, seed): train(args, f'{name.lower()}_{seed}', make(name == 'SFM'), seed)
             for seed in args.seeds for name in ('plain', 'SFM')}
    options = {key: read_options(str(file), (), weights=True) for key, file in files.items()}
    scale = next(iter(options.values()))['scale']
    images = load_images(args.test, args.max_images, scale, channels=1 if args.task == 'denoise' else 3)
    models = {f'{name} {seed}': restoring_model(opt, torch.device('cpu')) for (name, seed), opt in options.items()}
    report = restore(models, conditions(args.task), images)
    title = f'{args.task}, trained on {SEEN[args.task]}: PSNR in dB, {len(images)} images'
    table = Table(title=title, title_justify='left')
    for head in ('degradation', INPUT, *models, 'gain of SFM'):
        table.add_column(head, justify='left' if head == 'degradation' else 'right')
    for one in report['conditions']:
        psnr = one['psnr']
        gains = [psnr[f'SFM {seed}'] - psnr[f'plain {seed}'] for seed in args.seeds]
        table.add_row(one['name'], *(f'{psnr[name]:.3f}' for name in (INPUT, *models)),
                      ' '.join(f'{gain:+.3f}' for gain in gains))
    Console(width=120).print(table)
    out = Path(args.out) / args.task
    (out / 'report.json').write_text(json.dumps(report) + '\n', encoding='utf-8')
    chosen = [f'{name} {args.seeds[0]}' for name in ('plain', 'SFM')]
    for one in report['conditions']:
        one['psnr'] = {name: one['psnr'][name] for name in (INPUT, *chosen)}
        one['power'] = {name: power for name, power in one['power'].items() if name in chosen or name not in models}
    draw(report, out / 'frequencies.png')


if __name__ == '__main__':
    main()
