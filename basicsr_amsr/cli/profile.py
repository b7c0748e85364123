"""`basicsr profile`: parameters, MACs, keep, latency and memory of an option file's network."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from basicsr_amsr.amsr.accelerate import ConvertedNetwork, accelerate_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.cli.metrics_report import show
from basicsr_amsr.cli.option_network import choose_device, read_options
from basicsr_amsr.cli.profile_text import (
    DRAWINGS,
    describe,
    print_breakdown,
    print_report,
    write_drawing,
    write_report,
)
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.precision import DTYPES, check_arithmetic, computing_in
from basicsr_amsr.memory_layout import lay_out
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling import subject
from basicsr_amsr.profiling.breakdown import check_depth
from basicsr_amsr.profiling.peers import parse_peers
from basicsr_amsr.profiling.per_image import profile_images
from basicsr_amsr.profiling.side_by_side import environment, profile_networks


def run(args: argparse.Namespace) -> int:
    """Profile and print; exit code 0."""
    device = choose_device(args.device)
    check_flags(args, device)
    opt = read_options(args.opt, args.force_yml)
    dtype = args.dtype or (opt.get('val') or {}).get('dtype', 'fp32')
    slow = check_arithmetic(dtype, device, '--dtype' if args.dtype else 'val: dtype')
    with computing_in(DTYPES[dtype], device):
        profile(args, opt, device)
    if slow:
        show(slow)
    return 0


def profile(args: argparse.Namespace, opt: dict[str, Any], device: torch.device) -> None:
    """Profile the network of the options and print."""
    peers = parse_peers(args.compare) if args.compare else []
    size = subject.parse_size(args.size) if args.size else None
    net = subject.build(opt)
    weights = subject.load_weights(net, opt)
    engine = args.engine or (opt.get('val') or {}).get('engine', 'auto')
    if engine == 'native' and not isinstance(net, (MGA, ConvertedNetwork)):
        show(str(accelerate_(net, AMSRConfig(mode='dense', backend='native'))))
    if isinstance(net, MGA):
        net.set_engine(engine)
    if args.k is not None:
        subject.set_k(net, args.k)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    channels = subject.input_channels(opt['network_g'])
    nets, dense = subject.choose_variants(net, args.variant)
    for each in nets.values():
        lay_out(each.to(device=device), layout)

    def place(x: torch.Tensor) -> torch.Tensor:
        return x.to(device=device).contiguous(memory_format=layout)

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
    shown = image
    if args.images:
        images = next(iter(figures.values()))['images']
        sizes = {tuple(one['size']) for one in images}
        report['size'] = list(sizes.pop()) if len(sizes) == 1 else None
        shown = str(Path(args.images) / images[0]['name'])
        x = place(subject.input_image(shown, size, channels)[0]) if args.report else x
    print_report(report, figures, dense)
    print_breakdown(args.by, figures)
    if args.json:
        write_report(args.json, report, figures, dense)
    if args.report:
        write_drawing(args.report, report, figures, dense, nets, x, shown)


def check_flags(args: argparse.Namespace, device: torch.device) -> None:
    """Raise a UserError for flags that make no sense, alone or together."""
    for flag, file in (('--json', args.json), ('--report', args.report)):
        if file and not Path(file).parent.is_dir():
            raise UserError(f'{flag} {file}: there is no folder {Path(file).parent}.')
    if args.report and Path(args.report).suffix.lower() not in DRAWINGS:
        raise UserError(f"--report {args.report}: name a file that ends in {' or '.join(DRAWINGS)}.")
    if args.report and device.type == 'meta':
        raise UserError(f'--report {args.report}: its masks need arithmetic; take --device cpu.')
    check_depth(args.depth)
    if args.compare and device.type == 'meta':
        raise UserError(f'--compare {args.compare}: other counters run the network; take --device cpu.')
    if args.compare and args.images:
        raise UserError('--compare takes one image: give --image instead of --images.')
    if args.max_images is not None and not args.images:
        raise UserError(f'--max-images {args.max_images} belongs to --images DIR.')
