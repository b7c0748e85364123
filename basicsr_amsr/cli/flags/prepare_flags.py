"""Flags of `basicsr prepare`."""
from __future__ import annotations

import argparse

EPILOG = """\
  basicsr prepare --hr datasets/DIV2K/DIV2K_train_HR --out datasets/DIV2K_sub --scale 2,3,4 --crop 480
  basicsr prepare --check --hr datasets/DIV2K

Interrupted at any moment, the same command goes on where it was. docs/prepare.md says more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr prepare` takes."""
    parser.epilog = EPILOG
    parser.add_argument('--hr', nargs='+', required=True, metavar='DIR',
                        help='folder(s) of HR images, or one that holds a known layout, such as DIV2K')
    parser.add_argument('--lr', metavar='DIR', help='LR images that exist already (default: made, as MATLAB does)')
    parser.add_argument('--out', metavar='DIR', help='where the results go')
    parser.add_argument('--scale', nargs='+', default=[], metavar='N', help='one or several: 2,3,4')
    parser.add_argument('--crop', type=int, metavar='N', help='cut HR into sub-images of this side, LR accordingly')
    parser.add_argument('--step', type=int, metavar='N', help='from one sub-image to the next (default: half of crop)')
    parser.add_argument('--threshold', type=int, default=0, metavar='N',
                        help='no extra sub-image at the border for so many pixels or fewer (default: 0)')
    parser.add_argument('--min-size', type=int, default=1, metavar='N', help='leave out images with a shorter side')
    parser.add_argument('--mod', type=int, metavar='N',
                        help='crop HR to a multiple of this (default: the smallest that all scales allow)')
    parser.add_argument('--lmdb', action='store_true', help='write LMDBs instead of folders')
    parser.add_argument('--name', default='', metavar='NAME', help='NAME_HR, NAME_LR_bicubic … (default: HR, …)')
    parser.add_argument('--filename-tmpl', metavar='T', help="names of LR images: '{}x{scale}' as DIV2K "
                        "(default: '{}', the HR image's; with --check: found)")
    parser.add_argument('--prefix', action='store_true', help="put the folder's name before each file's")
    parser.add_argument('--recursive', action='store_true', help='look into subfolders too')
    parser.add_argument('--alpha', choices=['refuse', 'drop'], default='refuse', help='transparent images')
    parser.add_argument('--compression', type=int, metavar='N', help='of PNG, 0 to 9 (default: 3; LMDB: 1)')
    parser.add_argument('--link', action='store_true', help='hard links where an HR file needs no change')
    parser.add_argument('--check', action='store_true', help='only check that HR and LR images are pairs')
    parser.add_argument('--dry-run', action='store_true', help='only say what would be done')
    parser.add_argument('--overwrite', action='store_true', help='replace what was prepared with other settings')
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: one for each core)')
    parser.add_argument('--json', metavar='FILE', help='write what is printed as JSON')
