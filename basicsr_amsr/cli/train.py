"""`basicsr train`: BasicSR's train_pipeline in the current folder."""
from __future__ import annotations

import argparse
import os

from basicsr_amsr.cli.pipeline import Pipeline
from basicsr_amsr.cli.progress import training_bar


def run(args: argparse.Namespace) -> int:
    """Train; returns 0."""
    opt = Pipeline(args, is_train=True, watch=training_bar, demo=args.demo).run()
    if opt['rank'] == 0:
        print(f'weights: {os.path.relpath(opt["path"]["models"])}')
    return 0
