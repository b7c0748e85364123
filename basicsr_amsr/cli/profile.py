"""`basicsr profile`: parameters, MACs, mask ratio, latency and memory of an option file's network."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from basicsr_amsr.cli.network import choose_device, read_options
from basicsr_amsr.cli.report import show, write_json
from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling import subject
from basicsr_amsr.profiling.breakdown import DEPTH, check_depth
from basicsr_amsr.profiling.images import profile_images, sizes_line
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
    parser.add_argument('--images', metavar='DIR', help='mean figures over the LR images of a folder, with their masks')
    parser.add_argument('--max-images', type=int, metavar='N', help='only the first so many of --images')
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
    check_flags(args, device)
    peers = parse_peers(args.compare) if args.compare else []
    opt = read_options(args.opt, args.force_yml)
    size = subject.parse_size(args.size) if args.size else None
    net = subject.build(opt)
    weights = subject.load_weights(net, opt)
    if args.k is not None:
        subject.set_k(net, args.k)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    dtype, channels = DTYPES[args.dtype], subject.input_channels(opt['network_g'])
    net = net.to(device=device, dtype=dtype).to(memory_format=layout)
    nets, dense = subject.choose_variants(net, args.variant)

    def place(x: torch.Tensor) -> torch.Tensor:
        return x.to(device=device, dtype=dtype).contiguous(memory_format=layout)

    measured = device.type != 'meta'
    settings: dict[str, Any] = {
        'timing': measured and not args.no_timing, 'memory': measured, 'budget': args.budget,
        'num_threads': args.threads, 'params': subject.variant_parameters(nets), 'depth': args.depth}
    with Console(stderr=True).status('') as status:
        if args.images:
            found, number = subject.input_images(args.images, size, channels, args.max_images)
            x, image = place(torch.empty(1, channels, 1, 1)), args.images
            figures = profile_images(nets, ((name, place(one)) for name, one in found), number, dense,
                                     progress=status.update, **settings)
        else:
            x, image = subject.input_image(args.image, size, channels)
            x = place(x)
            figures = profile_networks(nets, x, dense, peers=peers, progress=status.update, **settings)
    report = {'opt': args.opt, 'network': describe(opt['network_g']), 'weights': weights, 'image': image,
              'k': getattr(net, 'k', None), **environment(x, args.threads), 'channels_last': args.channels_last}
    if args.images:
        sizes = {tuple(one['size']) for one in next(iter(figures.values()))['images']}
        report['size'] = list(sizes.pop()) if len(sizes) == 1 else None
    print_report(report, figures, dense)
    print_breakdown(args.by, figures)
    if args.json:
        write_report(args.json, report, figures, dense)
    return 0


def check_flags(args: argparse.Namespace, device: torch.device) -> None:
    """Raise a UserError for flags that make no sense, alone or together."""
    if args.json and not Path(args.json).parent.is_dir():
        raise UserError(f'--json {args.json}: there is no folder {Path(args.json).parent}.')
    check_depth(args.depth)
    if args.compare and device.type == 'meta':
        raise UserError(f'--compare {args.compare}: other counters run the network; take --device cpu.')
    if args.compare and args.images:
        raise UserError('--compare takes one image: give --image instead of --images.')
    if args.image and args.images:
        raise UserError('--image and --images exclude each other: leave one out.')
    if args.max_images is not None and not args.images:
        raise UserError(f'--max-images {args.max_images} belongs to --images DIR.')


def describe(network: dict[str, Any]) -> str:
    """'MGA RCAN x4' of a `network_g:`."""
    backbone = network.get('backbone') or {}
    scale = {**network, **backbone}.get('upscale')
    return ' '.join(filter(None, [network['type'], backbone.get('type'), f'x{scale}' if scale else None]))


def print_report(report: dict[str, Any], figures: dict[str, dict[str, Any]], dense: str | None) -> None:
    """The table, what it was measured on, and what is not in it."""
    images = next(iter(figures.values())).get('images')
    size = f'{len(images)} images' if images else 'input {}x{}'.format(*report['size'])
    layout = 'channels last' if report['channels_last'] else 'contiguous'
    table = figures_table(f'{report["network"]}, {size}', figures, dense)
    times = [f['latency_ms']['samples'] for f in figures.values() if f['latency_ms']]
    show(table, f'{report["device"]} ({report["device_name"]}), {report["dtype"]}, {layout}, '
                f'{report["threads"]} threads, torch {report["torch"]}'
                + (f', {times[0]:g} rounds in turn' + (' per image' if images else '') if times else ''),
         f'weights: {report["weights"]}; ' + (f'images: {report["image"]}, {sizes_line(images)}' if images
                                              else f'image: {report["image"]}'))
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
