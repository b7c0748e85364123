"""Sparse execution of one residual unit (3×3, ReLU, 3×3) against the dense one, with masks of a real image.

    python benchmarks/sparse_conv.py --image clic2025_valid/NAME.png --size 128x128 --threads 1

All run in turn in one process; a figure is the median over the rounds of dense channels-last time / time. Ideal is
dense MACs / active MACs (halos not excused), efficiency is speed-up / ideal. Weights and features are random: they
change no time. First every executor is compared with its oracle.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr.data.bicubic import imresize
from basicsr_amsr.data.image_io import read_image, to_float
from basicsr_amsr.execution.active import ActiveTiles
from basicsr_amsr.execution.oracle import dense_masked
from basicsr_amsr.execution.sparse import run_unit
from basicsr_amsr.execution.unfold import unfold_conv
from basicsr_amsr.execution.unit import INSIDE, ConvUnit
from basicsr_amsr.profiling.subject import parse_size
from basicsr_amsr.profiling.timer import time_paired
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def unfolded(unit: ConvUnit, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The unit by whole-image unfolds, `inside: masked`."""
    first, second = (step for step in unit.stages if isinstance(step, nn.Conv2d))
    body = unfold_conv(second, unfold_conv(first, x, mask).relu_(), mask)
    return torch.where(mask, x + body, x)


def executors(unit: ConvUnit, x: torch.Tensor, image: torch.Tensor, ratio: float, sizes: Sequence[int],
              unfold: bool) -> dict[str, tuple[Callable[[], torch.Tensor], torch.Tensor]]:
    """What is timed, by name, with what it must equal."""
    calls: dict[str, tuple[Callable[[], torch.Tensor], torch.Tensor]] = {}
    for size in sizes:
        active = ActiveTiles(HighFrequencyMask(tile=size, ratio=ratio).tiles(image), size, *x.shape[-2:])
        name = f'tiles {size}' if size > 1 else 'pixels'
        for inside in INSIDE:
            calls[f'{name}, {inside}'] = (partial(run_unit, unit, x, active, inside),
                                          dense_masked(unit, x, active.mask, inside))
        if size == 1 and unfold:
            calls['unfold + 1x1, masked'] = (partial(unfolded, unit, x, active.mask),
                                             dense_masked(unit, x, active.mask))
    return calls


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--image', required=True, help='photograph that the masks are of; resized to the size')
    parser.add_argument('--size', type=parse_size, nargs='+', default=[(128, 128), (270, 480)], metavar='HxW')
    parser.add_argument('--channels', type=int, nargs='+', default=[64, 32])
    parser.add_argument('--ratio', type=float, nargs='+', default=[0.125, 0.25, 0.5, 0.75])
    parser.add_argument('--tile', type=int, nargs='+', default=[1, 4, 8, 16, 32], help='1 for pixels')
    parser.add_argument('--unfold', action='store_true', help='the whole-image unfold too (much memory)')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=20.0, help='for each table')
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args(argv)
    photograph = to_float(read_image(args.image))[..., ::-1]
    console = Console()
    for (height, width) in args.size:
        small = imresize(photograph.copy(), (height, width)).clip(0, 1)
        image = torch.from_numpy(small).permute(2, 0, 1)[None].to(args.device)
        for channels in args.channels:
            convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
            unit = ConvUnit(tuple(m.to(args.device, memory_format=torch.channels_last)
                                  for m in (convs[0], nn.ReLU(), convs[1])))
            planar = torch.randn(1, channels, height, width, device=args.device)
            x = planar.to(memory_format=torch.channels_last)
            contiguous = ConvUnit(tuple(nn.Conv2d(channels, channels, 3, padding=1, device=args.device)
                                        if isinstance(m, nn.Conv2d) else m for m in unit.stages))
            for ratio in args.ratio:
                sparse = executors(unit, x, image, ratio, args.tile, args.unfold)
                for call, expected in sparse.values():
                    torch.testing.assert_close(call(), expected, rtol=1e-4, atol=1e-4)
                times = time_paired({'dense': partial(unit.dense, x), 'dense NCHW': partial(contiguous.dense, planar),
                                     **{name: call for name, (call, _) in sparse.items()}},
                                    device=args.device, budget=args.seconds, num_threads=args.threads)
                dense = times.latency('dense').median
                table = Table('', 'speed-up', 'efficiency', title=f'{channels} channels, {height}x{width}, '
                              f'{ratio:.1%} active, ideal {1 / ratio:.2f}; dense {dense:.1f} ms, '
                              f'{args.threads} thread(s), {times.rounds} rounds')
                for name in [n for n in times.milliseconds if n != 'dense']:
                    speedup = times.ratio('dense', name).median
                    table.add_row(name, f'{speedup:.2f}', f'{speedup * ratio:.2f}' if name in sparse else '')
                console.print(table)


if __name__ == '__main__':
    main()
