"""Progress bars for BasicSR's loops: on a terminal only, and never across a log line."""
from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from basicsr_amsr.cli.replace import replaced

REFRESH = 1.0  # seconds between two refreshes of the training's bar; reading the losses waits for the GPU


def quiet() -> bool:
    """Whether nobody watches: stderr is no terminal."""
    return not sys.stderr.isatty()


@contextmanager
def log_above_bars() -> Iterator[None]:
    """Let BasicSR's log lines appear above the progress bars."""
    if quiet():
        yield
    else:
        with logging_redirect_tqdm([logging.getLogger('basicsr')]):
            yield


@contextmanager
def training_bar(model: Any, opt: Mapping[str, Any]) -> Iterator[None]:
    """A bar over the iterations, with the losses, while `model` trains."""
    if quiet() or opt['rank'] != 0:
        yield
        return
    step = model.optimize_parameters
    total = int(opt['train']['total_iter'])
    with tqdm(total=total, desc=opt['name'], unit='it', dynamic_ncols=True, mininterval=REFRESH) as bar:
        def optimize_parameters(current_iter: int, *args: Any) -> None:
            if bar.n == 0:
                bar.initial = bar.n = current_iter - 1  # a resumed run starts further on
            step(current_iter, *args)
            if bar.update(current_iter - bar.n) or current_iter == total:
                bar.set_postfix({key: f'{value:.3g}' for key, value in model.get_current_log().items()})

        with replaced(model, {'optimize_parameters': optimize_parameters}):
            yield
