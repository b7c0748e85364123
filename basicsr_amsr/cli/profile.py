"""`basicsr profile`: parameters, MACs, mask ratio, latency and memory of an option file's network."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from basicsr_amsr.cli.network import choose_device, read_options
from basicsr_amsr.cli.report import show, write_json
from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling import subject
from basicsr_amsr.profiling.breakdown import DEPTH, check_depth
from basicsr_amsr.profiling.peers import parse_peers
from basicsr_amsr.profiling.profile import environment, profile_networks
from basicsr_amsr.profiling.table import compare_table, figures_table, module_table, operator_table, uncounted_line

DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `basicsr profile`."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file, for training or testing')
    parser.add_argument('--variant', metavar='V',
                        help='MGA: B, D, A or M, or several as B,D,A,M (default: that of the file)')
    parser.add_argument('--size', metavar='HxW', help='LR image in pixels (default: 180x320, or that of --image)')
    parser.add_argument('--k', metavar='N', help='MGA: patches to refine, a number or a share such as 0.25')
    parser.add_argument('--image', metavar='FILE', help='LR image; masks depend on content (default: a bundled photo)')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32')
    parser.add_argument('--device', choices=['cpu', 'cuda', 'meta'],
                        help='meta: count only, without arithmetic (default: cuda where there is a GPU)')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads (default: chosen by PyTorch)')
    parser.add_argument('--budget', type=float, default=10.0, metavar='SECONDS', help='time for timing (default: 10)')
    parser.add_argument('--no-timing', action='store_true', help='count only')
    parser.add_argument('--channels-last', action=argparse.BooleanOptionalAction, default=True,
                        help='memory format of weights and features, usually the faster one (default: yes)')
    parser.add_argument('--by', choices=['module', 'operator'], help='break each network down, with shares')
    parser.add_argument('--depth', type=int, default=DEPTH, metavar='N',
                        help=f'levels of modules below the network (default: {DEPTH})')
    parser.add_argument('--compare', metavar='COUNTERS', help='MACs beside those of mmengine,thop: where they differ')
    parser.add_argument('--json', metavar='FILE', help='write the figures as JSON')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE',
                        help='change options of the file, e.g. network_g:k=240')


def run(args: argparse.Namespace) -> int:
    """Profile and print; exit code 0."""
    device = choose_device(args.device)
    if args.json and not Path(args.json).parent.is_dir():
        raise UserError(f'--json {args.json}: there is no folder {Path(args.json).parent}.')
    check_depth(args.depth)
    peers = parse_peers(args.compare) if args.compare else []
    if peers and device.type == 'meta':
        raise UserError(f'--compare {args.compare}: other counters run the network; take --device cpu.')
    opt = read_options(args.opt, args.force_yml)
    size = subject.parse_size(args.size) if args.size else None
    net = subject.build(opt)
    weights = subject.load_weights(net, opt)
    if args.k is not None:
        subject.set_k(net, args.k)
    x, image = subject.input_image(args.image, size, subject.input_channels(opt['network_g']))
    net, x = place(net, x, device, DTYPES[args.dtype], args.channels_last)
    nets, dense = subject.choose_variants(net, args.variant)

    measured = device.type != 'meta'
    with Console(stderr=True).status('') as status:
        figures = profile_networks(
            nets, x, dense, timing=measured and not args.no_timing, memory=measured, budget=args.budget,
            num_threads=args.threads, params=subject.variant_parameters(nets), depth=args.depth,
            peers=peers, progress=status.update)
    report = {'opt': args.opt, 'network': describe(opt['network_g']), 'weights': weights, 'image': image,
              'k': getattr(net, 'k', None), **environment(x, args.threads)}
    print_report(report, figures, dense)
    print_breakdown(args.by, figures)
    if args.json:
        write_report(args.json, report, figures, dense)
    return 0


def place(net: nn.Module, x: torch.Tensor, device: torch.device, dtype: torch.dtype,
          channels_last: bool) -> tuple[nn.Module, torch.Tensor]:
    """Network and input on the device, in dtype and memory format."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return (net.to(device=device, dtype=dtype).to(memory_format=layout),
            x.to(device=device, dtype=dtype).contiguous(memory_format=layout))


def describe(network: dict[str, Any]) -> str:
    """'MGA RCAN x4' of a `network_g:`."""
    backbone = network.get('backbone') or {}
    scale = {**network, **backbone}.get('upscale')
    return ' '.join(filter(None, [network['type'], backbone.get('type'), f'x{scale}' if scale else None]))


def print_report(report: dict[str, Any], figures: dict[str, dict[str, Any]], dense: str | None) -> None:
    """The table, what it was measured on, and what is not in it."""
    height, width = report['size']
    layout = 'channels last' if report['channels_last'] else 'contiguous'
    table = figures_table(f'{report["network"]}, input {height}x{width}', figures, dense)
    times = [f['latency_ms']['samples'] for f in figures.values() if f['latency_ms']]
    show(table, f'{report["device"]} ({report["device_name"]}), {report["dtype"]}, {layout}, '
                f'{report["threads"]} threads, torch {report["torch"]}'
                + (f', {times[0]} rounds in turn' if times else ''),
         f'weights: {report["weights"]}; image: {report["image"]}')
    line = uncounted_line(figures)
    if line:
        show(line)


def print_breakdown(by: str | None, figures: dict[str, dict[str, Any]]) -> None:
    """Tables per network: its modules or operators, and what other counters say."""
    for name, network in figures.items():
        if by:
            draw = module_table if by == 'module' else operator_table
            show(draw(f'{name} by {by}', network[f'by_{by}']))
        if 'compare' in network:
            show(compare_table(f'{name} by other counters', network['compare']))


def write_report(path: str, report: dict[str, Any], figures: dict[str, dict[str, Any]], dense: str | None) -> None:
    """JSON: the first network's figures at the top, the dense one's under `dense`, all of them under `variants`."""
    first = next(iter(figures))
    value = {**report, 'variant': first if dense else None, **figures[first]}
    if dense is not None:
        value.update(dense={'variant': dense, **figures[dense]}, variants=figures)
    write_json(Path(path), value)
