"""Whole commands: `basicsr infer` on a picture or a folder, beside dense engines with the same reading and writing.

    python -m benchmarks.pictures -i DIR -n RFDN_x4 CARN_M_x4 --out results --json FILE

Contenders: `ours` is the command as it stands, `dense` the same with --dense. `torch` is the plain network by PyTorch,
channels last, allocator tuned; `openvino` a static graph for tiles of --openvino-tile pixels and 16 around them;
`openvino-any` a graph for any size, which takes a picture whole. They run as `ours` does, with another network inside.
Every contender and round is a process of its own, turn by turn; `command` is from its start to its end, `network` the
computing of all pictures, of which the first may hold a trace or a compilation, `warm` the same of a second time
through, memory the highest resident size. Medians over --rounds. Nearness is to PyTorch's pictures in fp32: PSNR and
HaarPSI (higher is nearer), GMSD and FLIP (lower is nearer), means over the pictures; needs
`pip install piq flip-evaluator`.
--rounds 0 runs each contender once, for the nearness alone.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from basicsr_amsr import allocator
from basicsr_amsr.amsr.accelerate import restore_
from basicsr_amsr.execution.precision import DTYPES
from basicsr_amsr.infer.chosen_form import Dtype
from basicsr_amsr.infer.jobs import KEEP, jobs_of, make_folder
from basicsr_amsr.infer.run_pictures import run
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.psnr import plain_psnr
from benchmarks.openvino_network import OpenVINONetwork

CONTENDERS = ('torch', 'openvino', 'openvino-any', 'dense', 'ours')
PAD = 16
PLAIN = 'dense, fp32, cpu by PyTorch'  # the form that the others are compared with


def upscaler(contender: str, name: str, side: int, dtype: Dtype | None) -> Upscaler:
    """What a contender computes with."""
    found = Upscaler(name, dense=contender != 'ours', dtype=dtype)
    if contender in ('ours', 'dense'):
        return found
    net, tile = found.network, found.form.tile
    plain = restore_(net.net)
    if contender == 'openvino':
        plain, tile = OpenVINONetwork(plain, net.channels, (side + 2 * PAD,) * 2, DTYPES[found.form.dtype]), side
    elif contender == 'openvino-any':
        plain = OpenVINONetwork(plain, net.channels, None, DTYPES[found.form.dtype])
    found.network = dataclasses.replace(net, net=plain)
    found.form = dataclasses.replace(found.form, kind='plain', tile=tile, tile_pad=PAD)
    return found


def work(args: argparse.Namespace) -> None:
    """A contender's process: prints what it measured as JSON."""
    allocator.tune()
    jobs = jobs_of(args.input, args.out, '', KEEP)
    make_folder(jobs[0].target.parent)
    upscale = upscaler(args.work, args.names[0], args.openvino_tile, args.dtype)
    passes, keep = [], 1.0
    for _ in range(2 if args.warm else 1):
        done = list(run(jobs, upscale, KEEP, overwrite=True))
        failed = [each.error for each in done if each.status == 'failed']
        if failed:
            raise SystemExit(failed[0])
        passes.append(sum(each.seconds['compute'] for each in done))
        keep = mean(1.0 if each.keep is None else each.keep for each in done)
    print(json.dumps({'network': passes[0], 'warm': passes[-1], 'keep': keep, 'form': str(upscale.form),
                      'memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def measured(args: argparse.Namespace, name: str, contender: str, folder: Path, dtype: Dtype | None,
             warm: bool = False) -> dict[str, Any]:
    """One process of a contender, whose pictures go into a folder."""
    command = [sys.executable, '-m', 'benchmarks.pictures', '--work', contender, '-i', str(args.input), '-n', name,
               '--out', str(folder), '--openvino-tile', str(args.openvino_tile),
               *(['--dtype', dtype] if dtype else []), *(['--warm'] if warm else [])]
    begun = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if ended.returncode:
        return {'error': (ended.stderr.strip().splitlines() or ['no output'])[-1]}
    return {'command': seconds, **json.loads(ended.stdout.strip().splitlines()[-1])}


def nearness(folder: Path, other: Path) -> dict[str, float]:
    """Means over the pictures of two folders, 8 bits in RGB."""
    found: dict[str, list[float]] = {'psnr': [], 'haarpsi': [], 'gmsd': [], 'flip': []}
    for file in sorted(folder.iterdir()):
        one, two = (np.asarray(Image.open(each / file.name).convert('RGB')) for each in (folder, other))
        found['psnr'].append(plain_psnr(one, two, 255))
        try:
            import flip_evaluator
            import piq
        except ImportError:
            continue
        x, y = (torch.from_numpy(each.copy()).permute(2, 0, 1)[None].float() / 255 for each in (one, two))
        with torch.no_grad():
            found['haarpsi'].append(float(piq.haarpsi(x, y)))
            found['gmsd'].append(float(piq.gmsd(x, y)))
        found['flip'].append(float(flip_evaluator.evaluate(two / np.float32(255), one / np.float32(255), 'LDR')[1]))
    return {key: mean(values) for key, values in found.items() if values}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-i', '--input', type=Path, required=True, help='a picture or a folder')
    parser.add_argument('-n', '--names', nargs='+', required=True, help='of `basicsr list pretrained`')
    parser.add_argument('--contenders', nargs='+', choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--openvino-tile', type=int, default=224, metavar='N')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    parser.add_argument('--dtype', choices=tuple(DTYPES), help="of all contenders; default: the command's own choice")
    parser.add_argument('--json', type=Path)
    parser.add_argument('--work', choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument('--warm', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.work:
        work(args)
        return 0
    console, rows = Console(), []
    table = Table('network', 'contender', 'command s', 'network s', 'warm s', 'keep', 'GB', 'nearness')
    for name in args.names:
        taken: dict[str, list[dict[str, Any]]] = {contender: [] for contender in args.contenders}
        for number in range(args.rounds + 1):  # the last, of two times through, is for `warm`
            for contender in args.contenders:
                if not any('error' in each for each in taken[contender]):
                    warm = number == args.rounds > 0
                    folder = args.out / name / contender
                    taken[contender].append(measured(args, name, contender, folder, args.dtype, warm))
        exact, failed = args.out / name / 'torch', None
        if not taken.get('torch') or taken['torch'][-1].get('form') != PLAIN:
            exact = args.out / name / 'fp32'
            failed = measured(args, name, 'torch', exact, 'fp32').get('error')
        if failed:
            console.print(f'{name}, PyTorch in fp32: {failed}')
        for contender, found in taken.items():
            row: dict[str, Any] = {'name': name, 'contender': contender}
            if 'error' in found[-1]:
                row['error'] = found[-1]['error']
                table.add_row(name, contender, row['error'])
            else:
                alone = found[:-1] or found
                row |= {key: median(each[key] for each in alone) for key in ('command', 'network')}
                row |= {'warm': found[-1]['warm'], 'keep': found[-1]['keep'], 'form': found[-1]['form'],
                        'memory': max(each['memory'] for each in alone)}
                if not failed:
                    row |= nearness(args.out / name / contender, exact)
                near = ' '.join(f'{key} {row[key]:.4g}' for key in ('psnr', 'haarpsi', 'gmsd', 'flip') if key in row)
                table.add_row(name, contender, *(f'{row[key]:.1f}' for key in ('command', 'network', 'warm')),
                              f'{row["keep"]:.0%}', f'{row["memory"] / 1e9:.2f}', near)
            rows.append(row)
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps({'argv': sys.argv, 'torch': torch.__version__, 'rows': rows}, indent=1),
                             encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
