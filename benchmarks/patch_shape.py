"""What a convolution costs per pixel on patches, over what it costs on a whole map: what bounds forms by patches.

    python benchmarks/patch_shape.py --threads 1 --channels 20 40 50 64 64/4

A 3×3 convolution (C/G: C channels in G groups) of a whole map, of the same number of pixels in patches with the pixels
around them, and gathering these from a map; channels-last, fp32, random values. All run in turn in one process; a
figure is the median over the rounds of time per pixel / that of the whole map.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from basicsr_amsr.execution.gather import pixel_rows
from basicsr_amsr.execution.timer import PairedTimes, time_paired
from basicsr_amsr.profiling.subject import parse_size


def calls(channels: int, groups: int, height: int, width: int, patch_sizes: Sequence[int],
          chunk: int) -> dict[str, tuple[Callable[[], torch.Tensor], int]]:
    """What is timed, by name, with how many pixels it computes."""
    weight = torch.randn(channels, channels // groups, 3, 3).contiguous(memory_format=torch.channels_last)
    x = torch.randn(1, channels, height, width).contiguous(memory_format=torch.channels_last)
    found: dict[str, tuple[Callable[[], torch.Tensor], int]] = {
        'whole': (lambda: F.conv2d(x, weight, padding=1, groups=groups), height * width)}
    rows = pixel_rows(x)
    for side in patch_sizes:
        count = max(chunk // side**2, 1)
        first = torch.randint((height - side - 2) * width, (count, 1, 1))
        step = torch.arange(side + 2)
        places = (first + step[:, None] * width + step).flatten()
        patches = rows[places].view(count, side + 2, side + 2, channels).permute(0, 3, 1, 2)
        found[f'patches {side}'] = (lambda p=patches: F.conv2d(p, weight, groups=groups), count * side**2)
        found[f'gather {side}'] = (lambda p=places: rows.index_select(0, p), count * side**2)
    return found


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--channels', nargs='+', default=['20', '24', '40', '50', '64', '64/4'], metavar='C[/G]')
    parser.add_argument('--patch-sizes', type=int, nargs='+', default=[4, 8, 16, 32])
    parser.add_argument('--size', type=parse_size, default=(270, 480), metavar='HxW')
    parser.add_argument('--chunk', type=int, default=8192, help='pixels of patches at a time')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=20.0, help='for each row')
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    table = Table(title=f'per pixel / whole map of {args.size[0]}x{args.size[1]}, {args.threads} threads',
                  title_justify='left')
    for name in ('channels', 'ns per pixel', *(f'{side}x{side}, gathering' for side in args.patch_sizes)):
        table.add_column(name, justify='right')
    for entry in args.channels:
        channels, _, groups = entry.partition('/')
        forms = calls(int(channels), int(groups or 1), *args.size, args.patch_sizes, args.chunk)
        times = time_paired({name: call for name, (call, _) in forms.items()}, budget=args.seconds,
                            num_threads=args.threads)
        area = forms['whole'][1]

        def ratio(name: str, forms: dict = forms, times: PairedTimes = times, area: int = area) -> float:
            return times.ratio(name, 'whole').median * area / forms[name][1]

        table.add_row(entry, f'{times.latency("whole").median * 1e6 / area:.0f}', *(
            f'{ratio(f"patches {side}"):.2f}, {ratio(f"gather {side}"):.2f}' for side in args.patch_sizes))
    Console().print(table)


if __name__ == '__main__':
    main()
