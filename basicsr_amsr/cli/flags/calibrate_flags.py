"""Flags of `basicsr calibrate`."""
from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `basicsr calibrate`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('-opt', metavar='FILE', help='option file with weights: of a plain network, or with network_g: '
                        '{type: AMSR, …}, whose selection then is the default')
    source.add_argument('-n', '--model_name', metavar='NAME', help='a network of `basicsr list pretrained`')
    source.add_argument('--weights', '--model_path', type=Path, metavar='FILE',
                        help='a checkpoint: of this package, of BasicSR, or any that spandrel recognises')
    parser.add_argument('-s', '--outscale', type=int, metavar='S', help='which, where the weights serve several scales')
    parser.add_argument('--images', required=True, nargs='+', metavar='DIR',
                        help='images like those to come; no ground truth')
    parser.add_argument('--downscale', action='store_true',
                        help="they are HR: fit to their bicubic LR, and measure the loss against them")
    parser.add_argument('--max-images', type=int, default=60, metavar='N', help='only the first so many (default: 60)')
    parser.add_argument('--crop', type=int, default=512, metavar='N',
                        help='only their centre of NxN pixels, HR pixels with --downscale (default: 512)')
    computed = parser.add_mutually_exclusive_group()
    computed.add_argument('--keep', type=float, metavar='R',
                          help='share of the patches of all images that is computed, '
                        'more of a detailed one and less of a flat one (default: 0.5)')
    computed.add_argument('--max-loss', type=float, metavar='DB',
                        help='find the smallest keep that loses at most so much PSNR; needs --downscale')
    parser.add_argument('--each-image', action='store_true', help='that share of each image, however detailed it is')
    parser.add_argument('--patch-size', type=int, metavar='N', help='side of the patches in LR pixels')
    parser.add_argument('--smooth', type=int, metavar='N', help='side of the box that averages the high-frequency map')
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: cuda where there is a GPU')
    parser.add_argument('-o', '--out', metavar='FILE',
                        help='default: network_g: calibration of the options, else the name of the weights with '
                             '.amsr')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE',
                        help='change the options of -opt')
