"""Milliseconds of an MGA network's variants, timed in turn in one run, beside the ideal.

    python benchmarks/latency.py --network RFDN --scale 4 --size 180x320 --ratio 0.1 0.25 0.5 --threads 2

M runs once for each K (--k, a number) or share of the patches (--ratio). Weights are random: they change no time.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.profile import environment, profile_networks, variant_of
from basicsr_amsr.profiling.subject import input_image, parse_size
from basicsr_amsr.profiling.table import figures_table


def networks(net: Any, variants: Sequence[str], amounts: Sequence[int | float]) -> dict[str, Any]:
    """The variants by name; M for each amount of patches."""
    named: dict[str, Any] = {}
    for variant in dict.fromkeys([*variants, 'D']):
        for amount in amounts if variant == 'M' else [None]:
            view: Any = variant_of(net, variant)
            if amount is not None:
                view.k = amount
            named[variant if amount is None else f'M {amount}'] = view
    return named


def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--network', default='RFDN', help='backbone (default: RFDN)')
    parser.add_argument('--scale', type=int, default=4)
    parser.add_argument('--size', type=parse_size, default=(180, 320), metavar='HxW', help='LR (default: 180x320)')
    parser.add_argument('--variants', default='B,D,A,M')
    parser.add_argument('--k', type=int, nargs='*', default=[], help='patches that M refines')
    parser.add_argument('--ratio', type=float, nargs='*', default=[], help='share of the patches that M refines')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--budget', type=float, default=60.0, metavar='SECONDS')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=['float32', 'float16', 'bfloat16'], default='float32')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args(argv)

    torch.manual_seed(0)
    net = MGA({'type': args.network, 'upscale': args.scale})
    net.to(args.device, getattr(torch, args.dtype)).to(memory_format=torch.channels_last)
    x = input_image(None, args.size, 3)[0].to(args.device, getattr(torch, args.dtype))
    x = x.contiguous(memory_format=torch.channels_last)
    nets = networks(net, args.variants.split(','), [*args.k, *args.ratio] or [1000])
    figures = profile_networks(nets, x, 'D', memory=False, budget=args.budget, num_threads=args.threads,
                               params={name: view.variant_parameters(view.variant) for name, view in nets.items()})
    where = environment(x, args.threads)
    Console(width=140).print(figures_table(f'MGA {args.network} x{args.scale}', figures, 'D'))
    print(', '.join(f'{key} {value}' for key, value in where.items()))
    if args.json:
        Path(args.json).write_text(json.dumps({**where, 'variants': figures}, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
