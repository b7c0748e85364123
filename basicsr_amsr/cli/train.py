"""`basicsr train`: BasicSR's train_pipeline in the current folder."""
from __future__ import annotations

import argparse
import os

from basicsr_amsr.cli.pipeline import Pipeline, add_option_file_arguments
from basicsr_amsr.cli.progress import training_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `basicsr train` takes."""
    parser.epilog = 'Weights, saved states and the log go to experiments/<name>/ in the current folder.'
    add_option_file_arguments(parser)
    parser.add_argument('--demo', action='store_true',
                        help="put the file's `demo:` options over the others: a few iterations on bundled images")


def run(args: argparse.Namespace) -> int:
    """Train; returns 0."""
    opt = Pipeline(args, is_train=True, watch=training_bar, demo=args.demo).run()
    if opt['rank'] == 0:
        print(f'weights: {os.path.relpath(opt["path"]["models"])}')
    return 0
