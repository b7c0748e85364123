"""Checkpoints that others published, as they are, beside PyTorch: whole, and with a calibration fitted on the way.

    python -m benchmarks.foreign -i DIR --weights FILE… [--side 256] [--pictures 3] [--rounds 3]
    python -m benchmarks.foreign -i DIR --weights FILE --network FILE.py:CLASS

The folder's first pictures are measured on, as squares of --side pixels from their middles; the others are what a
calibration is fitted to, as `basicsr infer` fits one to a long folder, whether it would pay there or not. Seconds are
medians of a warm pass, all forms in turn in one process; dB is PSNR to the picture of PyTorch in fp32, 8 bits, all
channels. Where there is no calibration, the reason stands in its row. A file that spandrel recognises needs it; of any
other, --network names the class in its authors' code.
"""
from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest import mock

import numpy as np
from torch import nn

from basicsr_amsr import allocator
from basicsr_amsr.backbones.checkpoint import load_checkpoint
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.timing import timed
from basicsr_amsr.infer import fitting, picture
from basicsr_amsr.infer.find_network import Network, find_network
from basicsr_amsr.infer.pixels import Array
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.psnr import plain_psnr


def of_authors(named: str, weights: Path) -> nn.Module:
    """A network of a class in a file of Python, with its weights."""
    file, _, name = named.rpartition(':')
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise UserError(f"--network {named}: '{file}' is no file of Python.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = getattr(module, name)()
    net.load_state_dict(load_checkpoint(weights))
    return net.eval()


def plain_form(network: Network) -> Upscaler:
    """By PyTorch in fp32."""
    upscale = Upscaler(network, dense=True, device='cpu', dtype='fp32')
    upscale.network = dataclasses.replace(upscale.network, net=find_network(network).net)
    upscale.form = dataclasses.replace(upscale.form, kind='plain')
    return upscale


def fitted_form(network: Network, files: Sequence[Path], told: list[str]) -> Upscaler | None:
    """With a calibration fitted to the files, kept nowhere; None where there is none that is near enough."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(fitting, 'cache', lambda: Path(folder)):
        calibration = fitting.fit_to(network, files, told.append)
    return None if calibration is None else Upscaler(network, calibration=calibration, device='cpu')


def forms(network: Network, files: Sequence[Path], told: list[str]) -> dict[str, Upscaler]:
    """What is measured, by name."""
    found = {'torch': plain_form(network), 'dense': Upscaler(network, dense=True, device='cpu')}
    try:
        fitted = fitted_form(network, files, told)
    except UserError as error:
        told.append(str(error))
        fitted = None
    return found if fitted is None else {**found, 'calibrated': fitted}


def measured(found: dict[str, Upscaler], pictures: Sequence[Array], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds, dB to PyTorch's picture and the share that was computed."""
    wanted = [found['torch'].enlarge_array(each) for each in pictures]
    rows: dict[str, dict[str, Any]] = {name: {'seconds': [], 'form': str(each.form)} for name, each in found.items()}
    for number in range(rounds + 2):  # the first rounds hold traces and trials of engines
        for name, upscale in found.items():
            taken = [timed(partial(upscale.enlarge_array, each), upscale.form.device) for each in pictures]
            if number > 1:
                rows[name]['seconds'].append(sum(seconds for seconds, _ in taken))
            near = [plain_psnr(one, large, 255) for one, (_, large) in zip(wanted, taken, strict=True)]
            rows[name].update(dB=mean(near), keep=upscale.last_keep)
    for row in rows.values():
        row['seconds'] = median(row['seconds']) / len(pictures)
    return rows


def middle(array: Array, side: int) -> Array:
    """A square from the middle, as far as the picture reaches."""
    top, left = ((length - min(length, side)) // 2 for length in array.shape[:2])
    return np.ascontiguousarray(array[top:top + side, left:left + side])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-i', '--input', type=Path, required=True, help='a folder of pictures')
    parser.add_argument('--weights', type=Path, nargs='+', required=True)
    parser.add_argument('--network', metavar='FILE.py:CLASS')
    parser.add_argument('--side', type=int, default=256)
    parser.add_argument('--pictures', type=int, default=3)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args(argv)
    allocator.tune()
    files = sorted(path for path in args.input.iterdir() if path.is_file())
    pictures = [middle(picture.read(path).array, args.side) for path in files[:args.pictures]]
    everything = []
    print('| file | network | form | seconds | dB | computed |\n|---|---|---|---|---|---|')
    for file in args.weights:
        told: list[str] = []
        network = find_network(of_authors(args.network, file) if args.network else file)
        rows = measured(forms(network, files[args.pictures:], told), pictures, args.rounds)
        for name, row in rows.items():
            print(f'| {file.name} | {type(network.net).__name__} | {name}: {row["form"]} | {row["seconds"]:.2f} | '
                  f'{row["dB"]:.1f} | {row["keep"]:.0%} |', flush=True)
        print(*(f'| | | {line} | | | |' for line in told), sep='\n', flush=True)
        everything.append({'file': file.name, 'network': type(network.net).__name__, 'rows': rows, 'told': told})
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1), encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
