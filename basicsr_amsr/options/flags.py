"""The flags of BasicSR's pipelines, which `basicsr train` and `basicsr test` take too. Imports no library."""
from __future__ import annotations

import argparse


def add_option_file_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's flags, with BasicSR's spelling; torchrun's `--local-rank` is accepted beside."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (YAML)')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE',
                        help='change options of the file, e.g. datasets:train:gt_size=96')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='pytorch: started by torchrun; slurm: by srun')
    parser.add_argument('--auto_resume', action='store_true', help="go on from the experiment's latest saved state")
    parser.add_argument('--debug', action='store_true', help='log every iteration, validate and save every eighth')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
