"""Flags of `basicsr test`."""
from __future__ import annotations

import argparse

from basicsr_amsr.options.flags import add_option_file_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr test` takes."""
    parser.epilog = 'Images, the log and metrics.json go to results/<name>/ in the current folder.'
    add_option_file_arguments(parser)
