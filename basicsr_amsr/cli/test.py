"""`basicsr test`: BasicSR's test_pipeline in the current folder, and metrics.json."""
from __future__ import annotations

import argparse
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from basicsr_amsr.cli.metrics_report import metrics_table, show, write_json
from basicsr_amsr.cli.options import Options
from basicsr_amsr.cli.pipeline import Pipeline
from basicsr_amsr.cli.recorder import MetricRecorder


def run(args: argparse.Namespace) -> int:
    """Test; returns 0."""
    recorder: MetricRecorder | None = None

    def watch(model: Any, opt: Options) -> AbstractContextManager[None]:
        nonlocal recorder
        file = Path(opt['path']['results_root']) / 'metrics.json'

        def save(results: dict[str, Any]) -> None:
            if results and opt['rank'] == 0:
                write_json(file, results)

        recorder = MetricRecorder(save)
        return recorder.watch(model)

    opt = Pipeline(args, is_train=False, watch=watch).run()
    if opt['rank'] == 0 and recorder is not None:
        report(opt, recorder.results)
    return 0


def report(opt: Options, results: dict[str, Any]) -> None:
    """Print the means and where the files are."""
    if results:
        show(metrics_table(opt['name'], results),
             f'every image: {os.path.relpath(opt["path"]["results_root"])}{os.sep}metrics.json')
    else:
        show('No metrics: the option file has no `val: metrics:`.')
    if opt['val'].get('save_img'):
        show(f'images: {os.path.relpath(opt["path"]["visualization"])}')
