"""Flags of `basicsr doctor`."""
from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr doctor` takes."""
    parser.epilog = 'Exit code 1 where there is a problem.'
    parser.add_argument('--json', action='store_true', help='print JSON')
