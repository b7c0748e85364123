"""`basicsr infer`: enlarge a picture or a folder of them with any network."""
from __future__ import annotations

import argparse

from basicsr_amsr.cli.garbage import uncollected
from basicsr_amsr.errors import UserError
from basicsr_amsr.infer.jobs import jobs_of, make_folder
from basicsr_amsr.resources import resolve
from basicsr_amsr.weights.cards import find_fitted

REPORTS = ('.html', '.png', '.jpg')


def run(args: argparse.Namespace) -> int:
    """Check the flags, then enlarge; exit code 0, or 2 where a picture failed."""
    jobs = jobs_of(resolve(args.input), args.output, args.suffix, args.ext)
    make_folder(jobs[0].target.parent)
    for file in (args.report, args.json):
        if file is not None and not file.parent.is_dir():
            raise UserError(f"'{file}': there is no folder {file.parent}.")
    if args.report is not None and args.report.suffix.lower() not in REPORTS:
        raise UserError(f"--report {args.report}: name a file that ends in {', '.join(REPORTS)}.")
    if args.opt is None:
        find_fitted(args.model_name or args.weights)
    with uncollected():
        from basicsr_amsr.cli.enlarge import enlarge  # brings PyTorch along: seconds
    return enlarge(args, jobs)
