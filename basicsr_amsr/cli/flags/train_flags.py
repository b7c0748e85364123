"""Flags of `basicsr train`."""
from __future__ import annotations

import argparse

from basicsr_amsr.options.flags import add_option_file_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr train` takes."""
    parser.epilog = 'Weights, saved states and the log go to experiments/<name>/ in the current folder.'
    add_option_file_arguments(parser)
    parser.add_argument('--demo', action='store_true',
                        help="put the file's `demo:` options over the others: a few iterations on bundled images")
