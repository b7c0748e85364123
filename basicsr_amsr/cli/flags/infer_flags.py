"""Flags of `basicsr infer`."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

REFUSED = {
    ('-dn', '--denoise_strength'): 'general-x4v3 is one network here, of full strength: leave it out',
    ('--face_enhance',): 'faces are restored by GFPGAN, a program of its own: run it on the results',
    ('--pre_pad',): 'networks pad by themselves: leave it out',
    ('--alpha_upsampler',): 'alpha is enlarged by the network: leave it out',
}


class _Refuse(argparse.Action):
    """A flag of Real-ESRGAN's script that is not taken over, with what to do."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object,
                 option_string: str | None = None) -> NoReturn:
        parser.error(f'{option_string}: {REFUSED[tuple(self.option_strings)]}.')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `basicsr infer`; those that Real-ESRGAN's script has are spelled as there."""
    parser.add_argument('-i', '--input', required=True, type=Path, metavar='PATH', help='a picture, or a folder')
    parser.add_argument('-o', '--output', type=Path, default=Path('results'), metavar='PATH',
                        help='a folder, or for one picture the file (default: results)')
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument('-n', '--model_name', metavar='NAME', help='a network of `basicsr list pretrained`')
    network.add_argument('--weights', '--model_path', type=Path, metavar='FILE',
                         help="a checkpoint: of this package, of BasicSR, or any that spandrel recognises")
    network.add_argument('-opt', metavar='FILE', help='an option file with a network and its weights')
    parser.add_argument('-s', '--outscale', type=float, metavar='S',
                        help="factor of the result (default: the network's)")
    parser.add_argument('--keep', type=float, metavar='SHARE',
                        help='compute this share of the patches (default: as the calibration was fitted)')
    parser.add_argument('--dense', action='store_true', help='compute everything')
    parser.add_argument('--calibration', type=Path, metavar='FILE', help='a file of basicsr calibrate')
    parser.add_argument('-t', '--tile', type=int, metavar='N',
                        help='tiles of that side in pixels, 0: none (default: chosen so that memory is bounded)')
    parser.add_argument('--tile_pad', type=int, default=32, metavar='N', help='pixels around a tile (default: 32)')
    parser.add_argument('--suffix', default='out', help="behind the name, after _; '' for none (default: out)")
    parser.add_argument('--ext', default='auto', help='ending of the results: png, jpg, webp, tif, bmp, avif; '
                        'auto: that of the picture (default)')
    parser.add_argument('--fp32', action='store_true',
                        help='compute in fp32 (default: bf16 or fp16 where it is faster)')
    device = parser.add_mutually_exclusive_group()
    device.add_argument('--device', metavar='DEVICE',
                        help='cpu, cuda, cuda:1, mps (default: a GPU where there is one)')
    device.add_argument('-g', '--gpu-id', type=int, metavar='N', help='the N-th GPU')
    parser.add_argument('--save_mask', action='store_true', help='write NAME_mask.png too, white where it was computed')
    parser.add_argument('--report', type=Path, metavar='FILE',
                        help='write before and after, masks, milliseconds and MACs beside the whole network, which '
                             'runs too: .html, or .png or .jpg for up to six pictures')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write what became of each picture')
    parser.add_argument('--overwrite', action='store_true', help='compute pictures whose result is there already')
    for flags in REFUSED:
        parser.add_argument(*flags, action=_Refuse, nargs='?', help=argparse.SUPPRESS)
