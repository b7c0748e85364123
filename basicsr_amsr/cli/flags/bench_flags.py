"""Flags of `basicsr bench`."""
from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `basicsr bench`."""
    parser.add_argument('-opt', nargs='+', default=[], metavar='FILE', help='option files of networks, with weights')
    parser.add_argument('--network', nargs='+', default=[], metavar='NAME',
                        help='networks with random weights: RFDN CARN_M EDSR_baseline SwinIR_light MGA-RFDN …')
    parser.add_argument('--upscale', type=int, default=4, metavar='S', help='of --network (default: 4)')
    parser.add_argument('--size', nargs='+', default=['128x128'], metavar='HxW', help='LR images (default: 128x128)')
    parser.add_argument('--images', metavar='DIR', help='crops of its images, as LR images (default: noise)')
    parser.add_argument('--max-images', type=int, default=3, metavar='N', help='so many of them (default: 3)')
    parser.add_argument('--hr', metavar='DIR', help='PSNR on these HR images; without --images masks are of them too')
    parser.add_argument('--max-hr', type=int, metavar='N', help='only the first so many of --hr')
    parser.add_argument('--keep', nargs='+', type=float, metavar='R',
                        help='shares of patches or windows to compute (default: 0.25 0.5 0.75)')
    parser.add_argument('--budget', nargs='+', type=float, default=[], metavar='B',
                        help="shares of the dense network's MACs, in place of --keep or beside it")
    parser.add_argument('--keep-by-level', nargs='+', type=float, default=[], metavar='S',
                        help='calibrated networks: the patches over the level that this share of the patches is over '
                             'to which they were fitted; likewise')
    parser.add_argument('--patch-size', nargs='+', type=int, metavar='N',
                        help='AMSR: sides of the patches, 1 for pixels (default: that of the options, 8)')
    parser.add_argument('--backend', nargs='+', choices=['torch', 'triton'],
                        help='AMSR: what convolves (default: triton on a GPU where it is installed, else torch)')
    parser.add_argument('--auto', action='store_true',
                        help='AMSR: each sparse form also with mode: auto, which may compute everything')
    parser.add_argument('--dtype', nargs='+', choices=['fp32', 'bf16', 'fp16'], default=['fp32'])
    parser.add_argument('--device', nargs='+', choices=['cpu', 'cuda'], help='default: cuda where there is a GPU')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads (default: chosen by PyTorch)')
    parser.add_argument('--rivals', nargs='*', metavar='NAME',
                        help='what a user could take instead competes: compile openvino onnxruntime stock '
                             '(default: all of them)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='each contender is started so often (default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=2.0, metavar='S',
                        help='timed passes in each process, two of each image at least '
                             '(default: %(default)g)')
    parser.add_argument('--timeout', type=float, default=900.0, metavar='S',
                        help='after which a process is ended (default: %(default)g)')
    parser.add_argument('--json', metavar='FILE', help='write the figures as JSON')
    parser.add_argument('--plot', metavar='FILE', help='draw times and quality: .png')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE',
                        help='change options of the files, e.g. network_g:patch_size=8')
