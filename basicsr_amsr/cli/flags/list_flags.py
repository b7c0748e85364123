"""Flags of `basicsr list`."""
from __future__ import annotations

import argparse

KINDS = ('arch', 'model', 'dataset', 'loss', 'metric', 'backbone', 'selection', 'transform', 'pretrained')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr list` takes."""
    parser.add_argument('kind', nargs='?', choices=KINDS, metavar='KIND', help=f'only one kind: {", ".join(KINDS)}')
    parser.add_argument('--json', action='store_true', help='print JSON')
