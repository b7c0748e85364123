"""Flags of `basicsr profile`."""
from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `basicsr profile`."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file, for training or testing')
    parser.add_argument('--variant', metavar='V',
                        help='MGA: B, D, A, M or plain, or several as B,D,A,M (default: that of the file)')
    parser.add_argument('--size', metavar='HxW', help='LR image in pixels (default: 180x320, or that of --image)')
    parser.add_argument('--k', metavar='N', help='MGA: patches to refine, a number or a share such as 0.25')
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument('--image', metavar='FILE',
                          help='LR image; masks depend on content (default: a bundled photo)')
    pictures.add_argument('--images', metavar='DIR',
                          help='mean figures over the LR images of a folder, with their masks')
    parser.add_argument('--max-images', type=int, metavar='N', help='only the first so many of --images')
    parser.add_argument('--dtype', choices=['fp32', 'bf16', 'fp16'],
                        help="what networks compute in (default: the file's val: dtype)")
    parser.add_argument('--engine', choices=['auto', 'torch', 'native'],
                        help='what runs the network on a CPU, as val: engine says (default)')
    parser.add_argument('--device', choices=['cpu', 'cuda', 'meta'],
                        help='meta: count only, without arithmetic (default: cuda where there is a GPU)')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads (default: chosen by PyTorch)')
    parser.add_argument('--budget', type=float, default=10.0, metavar='SECONDS', help='time for timing (default: 10)')
    parser.add_argument('--no-timing', action='store_true', help='count only')
    parser.add_argument('--channels-last', action=argparse.BooleanOptionalAction, default=True,
                        help='memory format of weights and features, usually the faster one (default: yes)')
    parser.add_argument('--by', choices=['module', 'operator'], help='break each network down, with shares')
    parser.add_argument('--depth', type=int, default=2, metavar='N',
                        help='levels of modules below the network (default: %(default)s)')
    parser.add_argument('--compare', metavar='COUNTERS', help='MACs beside those of mmengine,thop: where they differ')
    parser.add_argument('--json', metavar='FILE', help='write the figures as JSON')
    parser.add_argument('--report', metavar='FILE',
                        help='draw masks, MACs by module and the comparison: .html (one file, with tables) or .png')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE',
                        help='change options of the file, e.g. network_g:k=240')
