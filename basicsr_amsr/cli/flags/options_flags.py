"""Flags of `basicsr options`."""
from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr options` takes."""
    parser.add_argument('--schema', action='store_true', help='print a JSON schema for editors, with what plugins add')
