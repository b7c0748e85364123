"""`basicsr options`: every option with its meaning, as a page or as a JSON schema for editors."""
from __future__ import annotations

import argparse
import sys

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr.cli.metrics_report import print_json
from basicsr_amsr.options.json_schema import file_schema
from basicsr_amsr.options.options_page import reference
from basicsr_amsr.plugins import load_installed


def run(args: argparse.Namespace) -> int:
    """Print docs/options.md, or the schema; returns 0."""
    if args.schema:
        for problem in load_installed():
            print(f'basicsr: warning: {problem}', file=sys.stderr)
        print_json(file_schema())
    else:
        print(reference(), end='')
    return 0
