"""Flags of `basicsr freq`."""
from __future__ import annotations

import argparse

DEMO = 'demo/test'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `basicsr freq`."""
    parser.add_argument('-opt', required=True, nargs='+', metavar='FILE',
                        help='option files with weights, of networks to compare, such as with and without SFM')
    parser.add_argument('--images', default=DEMO, metavar='DIR', help='clean images (default: bundled photographs)')
    parser.add_argument('--max-images', type=int, metavar='N', help='only the first so many')
    parser.add_argument('--blur', nargs='+', type=float, default=[], metavar='SIGMA', help='Gaussian kernels')
    parser.add_argument('--disk', nargs='+', type=float, default=[], metavar='RADIUS', help='disk kernels')
    parser.add_argument('--kernel', nargs='+', default=[], metavar='FILE', help='kernels from files')
    parser.add_argument('--noise', nargs='+', type=float, default=[], metavar='SIGMA', help='Gaussian noise, of 255')
    parser.add_argument('--jpeg', nargs='+', type=float, default=[], metavar='QUALITY', help='JPEG compression')
    parser.add_argument('--degradations', nargs='+', default=[], metavar='LIST',
                        help="lists of your own, such as '[{type: GaussianBlur, sigma: 2}, {type: JPEG, quality: 30}]'")
    parser.add_argument('--downscale', choices=['bicubic', 'subsample'], default='bicubic',
                        help='for super-resolution, after the kernel (default: MATLAB bicubic)')
    parser.add_argument('--bands', type=int, default=100, metavar='N', help='of spatial frequency (default: 100)')
    parser.add_argument('--seed', type=int, default=0, help='of the noise')
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: cuda where there is a GPU')
    parser.add_argument('--out', default='freq', metavar='NAME', help='writes NAME.png and NAME.json (default: freq)')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE', help='change the options')
