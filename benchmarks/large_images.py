"""Time and memory of an accelerated network and its dense form, from small to large images.

The dense form is `mode: dense`, in the same tiles; MGA's is its variant D. `--rival` puts OpenVINO's graph of the plain
network beside them, in these tiles as well, each continued to the size of the largest.

    python -m benchmarks.large_images -opt options/test/amsr_carn_m_x4.yml --image photo.jpg --threads 2 --json FILE

Every point runs in a process of its own: a pass on 64×64 pixels, then passes on the image, of which the median counts,
as many as fit into --seconds and one at least. Memory is the highest resident size during them over that before (on
CUDA the allocator's), so weights and input are not in it. `per Mpx` stands for a million pixels of the LR image: equal
numbers in a column mean that cost is linear in area. `masks`: how often a mask was made in one pass. A form that asks
for more than --memory, by default nine tenths of what is free, is `out of memory`, and is not tried at larger sizes.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr.amsr import restore_
from basicsr_amsr.amsr.masked_tiles import step_of
from basicsr_amsr.bench.networks import Network, by_name
from basicsr_amsr.cli.option_network import choose_device, read_options
from basicsr_amsr.execution.native import selection as native_selection
from basicsr_amsr.execution.tiles import cut, in_tiles, is_large
from basicsr_amsr.execution.timing import synchronize
from basicsr_amsr.mga.mask import MaskPrediction
from basicsr_amsr.profiling.side_by_side import variant_of
from basicsr_amsr.profiling.subject import input_image, parse_size
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from benchmarks.openvino_network import OpenVINONetwork

SIZES = ('128x128', '270x480', '540x960', '1080x1920', '2160x3840')
FORMS = {'dense': 'D', 'sparse': 'M'}
RIVAL = 'openvino'
OUT_OF_MEMORY = 'out of memory'
MEBIBYTE = 1 << 20


def status(name: str, file: str = '/proc/self/status') -> int:
    """Bytes of a line of Linux's status of this process, or of the machine's memory."""
    line = next(line for line in Path(file).read_text(encoding='ascii').splitlines() if line.startswith(f'{name}:'))
    return int(line.split()[1]) << 10


def build(args: argparse.Namespace) -> Network:
    """The network of an option file or by name."""
    if args.opt:
        return Network('network', read_options(args.opt, args.force_yml))
    return by_name(args.network, args.upscale)


class Masks:
    """Counts the masks that are made."""

    def __init__(self) -> None:
        self.number = 0
        for owner, name in ((HighFrequencyMask, 'score'), (native_selection, '_detail'),
                            (MaskPrediction, 'forward')):
            setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, function: Any) -> Any:
        """The function, counted."""
        def call(*args: Any, **kwargs: Any) -> Any:
            self.number += 1
            return function(*args, **kwargs)
        return call


class Rival(nn.Module):
    """The plain network of a converted one by OpenVINO, in its tiles."""

    last_keep = 1.0

    def __init__(self, net: Any, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.tile, self.pad, self.step = net.amsr.tile, net.amsr.tile_pad, step_of(net)
        if self.tile is not None:
            image = torch.empty(1, 1, *size, device='meta')
            tiles = [each.of(image).shape for each in cut(*size, self.tile, self.pad, self.step)]
            size = (max(each[-2] for each in tiles), max(each[-1] for each in tiles))
        self.network = OpenVINONetwork(restore_(net), channels, size, torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not is_large(x, self.tile):
            return self.network(x)
        return in_tiles(lambda tile: self.network(tile.of(x)), x, self.tile, self.pad, self.step)


@torch.no_grad()
def point(args: argparse.Namespace, form: str, size: tuple[int, int]) -> dict[str, Any]:
    """One form at one size, in this process."""
    device = choose_device(args.device)
    torch.set_num_threads(args.threads)
    network = build(args)
    net: Any = network.build().net.to(device=device, memory_format=torch.channels_last)
    if form == RIVAL:
        net = Rival(net, network.channels, size)
    elif hasattr(net, 'amsr'):
        net.amsr = dataclasses.replace(net.amsr, mode=form)
    else:
        net = variant_of(net, FORMS[form])

    def image(size: tuple[int, int]) -> torch.Tensor:
        x = input_image(args.image, size, network.channels)[0]
        return x.to(device).contiguous(memory_format=torch.channels_last)

    net(image((64, 64)))
    x, masks, times = image(size), Masks(), []
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        before = status('VmRSS')
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')  # the highest size so far begins anew
        resource.setrlimit(resource.RLIMIT_DATA, (status('VmData') + int(args.memory * MEBIBYTE),) * 2)
    began = time.perf_counter()
    try:
        while not times or time.perf_counter() - began + times[-1] < args.seconds:
            start = time.perf_counter()
            net(x)
            synchronize(device)
            times.append(time.perf_counter() - start)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error):
            return {'why': OUT_OF_MEMORY}
        raise
    peak = torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else status('VmHWM')
    return {'ms': median(times) * 1e3, 'mb': (peak - before) / MEBIBYTE, 'passes': len(times),
            'masks': masks.number / len(times), 'keep': float(net.last_keep)}


def in_process(argv: Sequence[str], form: str, size: str, timeout: float) -> dict[str, Any]:
    """A point in a process of its own: its figures, or under `why` the reason that there are none."""
    command = [sys.executable, '-m', 'benchmarks.large_images', *argv, '--point', form, '--sizes', size]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {'why': f'over {timeout:g} s'}
    if ended.returncode == 0:
        return dict(json.loads(ended.stdout.splitlines()[-1]))
    if ended.returncode == -9:  # by the kernel, for memory
        return {'why': OUT_OF_MEMORY}
    return {'why': (ended.stderr.strip().splitlines() or [f'exit code {ended.returncode}'])[-1][:80]}


def cells(figures: Mapping[str, Any], megapixels: float) -> list[str]:
    """The columns of a form."""
    if 'why' in figures:
        return [figures['why'], '', '', '']
    return [f'{figures["ms"]:.0f}', f'{figures["ms"] / megapixels:.0f}', f'{figures["mb"]:.0f}',
            f'{figures["mb"] / megapixels:.0f}']


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument('-opt', metavar='FILE')
    network.add_argument('--network', metavar='NAME', help='as in basicsr bench, random weights')
    parser.add_argument('--upscale', type=int, default=4)
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE')
    parser.add_argument('--image', help='cut or resized to each size; default: noise')
    parser.add_argument('--sizes', nargs='+', default=SIZES, metavar='HxW', help='of the LR image')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', choices=('cpu', 'cuda'))
    parser.add_argument('--seconds', type=float, default=30.0, help='for the passes of a point; one at least')
    parser.add_argument('--timeout', type=float, default=3600.0, help='seconds that a point may take')
    parser.add_argument('--memory', type=float, help='MiB that a pass may take',
                        default=0.9 * status('MemAvailable', '/proc/meminfo') / MEBIBYTE)
    parser.add_argument('--rival', action='store_true', help='OpenVINO, for AMSR networks')
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--point', choices=(*FORMS, RIVAL), help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    sizes = [parse_size(size) for size in args.sizes]
    if args.point:
        print(json.dumps(point(args, args.point, sizes[0])))
        return
    build(args)  # a mistake is said before anything runs
    table = Table(title=f'{args.opt or args.network}, {args.threads} threads')
    forms = (*FORMS, RIVAL) if args.rival else tuple(FORMS)
    for name in ('LR', *(f'{form}{what}' for form in forms for what in (' ms', ', per Mpx', ' MB', ', per Mpx')),
                 'time', 'memory', 'active', 'masks'):
        table.add_column(name, justify='right')
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for text, (height, width) in zip(args.sizes, sizes, strict=True):
        row: dict[str, dict[str, Any]] = {}
        for form in forms:
            failed = next((row[form] for row in results.values() if row[form].get('why') == OUT_OF_MEMORY), None)
            row[form] = failed or in_process([*given, '--memory', str(args.memory)], form, text, args.timeout)
        results[text] = row
        dense, sparse = (row[form] for form in FORMS)
        both = 'why' not in dense and 'why' not in sparse
        table.add_row(text, *(cell for form in forms for cell in cells(row[form], height * width / 1e6)),
                      *(f'{sparse[key] / dense[key]:.2f}' if both and dense[key] else '' for key in ('ms', 'mb')),
                      *(f'{sparse[key]:.2g}' if 'why' not in sparse else '' for key in ('keep', 'masks')))
        if args.json:
            Path(args.json).write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    Console(width=200).print(table)


if __name__ == '__main__':
    main()
