"""Milliseconds of B, D, A and M of the five MGA networks, paired in turn, beside the ideal; and the paper's phone.

    python -m benchmarks.mga_latency --threads 2 --json mga_latency.json

Each network runs at each LR size, its variants in rounds B D A M M M B D A …: one round to warm up, then 3 to 20, as
many as fit into --budget seconds for a network and size. Last come RCAN's D and M at 256×256 with K = 1000 on one
thread, for which the paper gives 45.61 s and 35.51 s (×1.28) on a phone; its D makes the coarse image as well, so that
ours with it stands beside ours. Speed-ups are to D, medians of the ratios of each round; ideal is the ratio of the true
MACs. Weights are random: they change no time. The file of --json is written after each network and size, and what it
holds already is not measured again.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from basicsr_amsr.execution.timer import PairedTimes, time_paired
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.profiling.side_by_side import environment, variant_of
from basicsr_amsr.profiling.subject import input_image, parse_size
from benchmarks.mga_table1 import NETWORKS

SIZES = ((128, 128), (270, 480))
KEEPS = (0.125, 0.25, 0.5)
WARMUP, ROUNDS = 1, (3, 20)
PHONE_NETWORK, PHONE_SIZE, PHONE_K = 'RCAN', (256, 256), 1000
Calls = dict[str, Callable[[torch.Tensor], Any]]


def build(network: str, scale: int, device: str) -> Any:
    """The network with random weights."""
    torch.manual_seed(0)
    with torch.device(device):
        return MGA({'type': network, 'upscale': scale}).eval()


def selecting(net: Any, k: int | float) -> Any:
    """M with that number or share of patches, sharing all weights."""
    view: Any = variant_of(net, 'M')
    view.k = k
    return view


def variants(net: Any, keeps: Sequence[float]) -> Calls:
    """What is timed of a network: B, D, A, and M at each share."""
    return {**{name: variant_of(net, name) for name in 'BDA'},
            **{f'M {keep:g}': selecting(net, keep) for keep in keeps}}


def phone(net: Any) -> Calls:
    """What is timed of the paper's phone: D, D that makes the coarse image too, and M."""
    dense = variant_of(net, 'D')
    return {'D': dense, 'D of the paper': partial(dense, with_parts=True), 'M': selecting(net, PHONE_K)}


def macs(call: Callable[[torch.Tensor], Any], size: tuple[int, int]) -> int:
    """True MACs of one call of a network on the meta device."""
    net, options = (call.func, call.keywords) if isinstance(call, partial) else (call, {})
    return count(net, torch.empty(1, 3, *size, device='meta'), **options).macs  # type: ignore[arg-type]


@torch.no_grad()
def measure(network: str, scale: int, size: tuple[int, int], select: Callable[[Any], Calls], threads: int,
            budget: float) -> dict[str, Any]:
    """Time of each variant of a network on one image, beside its MACs."""
    x = input_image(None, size, 3)[0].contiguous(memory_format=torch.channels_last)
    calls = {name: partial(call, x) for name, call in select(build(network, scale, 'cpu')).items()}
    times = time_paired(calls, 'cpu', budget, WARMUP, *ROUNDS, threads)
    counted = {name: macs(call, size) for name, call in select(build(network, scale, 'meta')).items()}
    return {'network': network, 'scale': scale, **environment(x, threads), 'rounds': times.rounds,
            'variants': {name: figures(name, times, counted) for name in calls}}


def figures(name: str, times: PairedTimes, counted: Mapping[str, int]) -> dict[str, Any]:
    """Milliseconds and MACs of a variant, and how it stands to D."""
    ideal, speed_up = counted['D'] / counted[name], 1 / times.ratio(name, 'D').median
    return {'macs': counted[name], 'ms': asdict(times.latency(name)), 'speed_up': speed_up, 'ideal': ideal,
            'efficiency': speed_up / ideal}


def row(case: Mapping[str, Any]) -> str:
    """A case as a row of a Markdown table."""
    what = f"{case['network']} {'x'.join(map(str, case['size']))} | {case['threads']} | {case['rounds']}"
    return f"| {what} | {' | '.join(cell(name, one) for name, one in case['variants'].items())} |"


def cell(name: str, one: Mapping[str, Any]) -> str:
    """'1496 ms', and beside the others' D 'x1.23 of x1.29'."""
    milliseconds = one['ms']['median']
    time = f'{milliseconds:.0f} ms' if milliseconds >= 100 else f'{milliseconds:.1f} ms'
    return time if name == 'D' else f"{time}, x{one['speed_up']:.2f} of x{one['ideal']:.2f}"


def markdown(cases: Sequence[Mapping[str, Any]]) -> str:
    """The cases as Markdown tables: speed-up to D, and the ideal, beside the milliseconds."""
    lines: list[str] = []
    for case in cases:
        head = ['network, LR size', 'threads', 'rounds', *case['variants']]
        title = f"| {' | '.join(head)} |"
        if title not in lines:
            lines += ['', title, '|---' * len(head) + '|']
        lines.append(row(case))
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', default=','.join(NETWORKS))
    parser.add_argument('--scale', type=int, default=4)
    parser.add_argument('--sizes', type=parse_size, nargs='*', default=SIZES, metavar='HxW', help='LR')
    parser.add_argument('--keeps', type=float, nargs='*', default=KEEPS, help='shares of the patches that M refines')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--budget', type=float, default=90.0, metavar='SECONDS', help='of a network and size')
    parser.add_argument('--no-phone', action='store_true', help="leave out the paper's phone")
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args(argv)

    wanted = [(network, args.scale, size, partial(variants, keeps=args.keeps), args.threads)
              for size in args.sizes for network in args.networks.split(',')]
    if not args.no_phone:
        wanted.append((PHONE_NETWORK, 4, PHONE_SIZE, phone, 1))
    file = Path(args.json) if args.json else None
    cases = json.loads(file.read_text(encoding='utf-8')) if file and file.is_file() else []
    for network, scale, size, select, threads in wanted:
        if any((case['network'], case['scale'], *case['size'], case['threads']) == (network, scale, *size, threads)
               for case in cases):
            continue
        cases.append(measure(network, scale, size, select, threads, args.budget))
        print(row(cases[-1]), flush=True)
        if file:
            file.write_text(json.dumps(cases, indent=2) + '\n', encoding='utf-8')
    print(markdown(cases))
    print('\n' + ', '.join(f'{key} {cases[0][key]}' for key in ('device_name', 'dtype', 'torch')))


if __name__ == '__main__':
    main()
