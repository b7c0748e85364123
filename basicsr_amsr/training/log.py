"""The line that training prints, with its throughput and the share of time that waits for data."""
from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only


class TrainingLog:
    """In place of BasicSR's `MessageLogger`: its line with one more bracket, and an ETA that comes true.

        [name..][epoch:  0, iter:     100, lr:(2.000e-04,)] [eta: 0:10:00, time (data): 0.123 (0.001)]
        [130.1 images/s, data wait: 0.8%, GPU memory: 3.10 GiB] l_pix: 1.2345e-02

    (One line.) All figures are of the interval since the line before, training alone, without validation and saving;
    GPU memory is the most that tensors took up so far, in the first process. Images are those of all processes. The ETA
    is from the time since the first line, with validation and saving; BasicSR's counts iterations that a resumed run
    did not do, and is negative at the end. TensorBoard gets what BasicSR gives it, and `speed/…`.

    Args:
        opt: all options of the run.
        start_iter: BasicSR's; the ETA needs none.
        tb_logger: TensorBoard's writer, or None.
    """

    def __init__(self, opt: Mapping[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
        self.name, self.total_iter = opt['name'], int(opt['train']['total_iter'])
        self.tb_logger = tb_logger if opt['logger'].get('use_tb_logger') and 'debug' not in self.name else None
        data = (opt.get('datasets') or {}).get('train') or {}
        devices = opt['world_size'] if opt.get('dist') else max(opt.get('num_gpu') or 0, 1)
        self.batch = data.get('batch_size_per_gpu', 0) * devices
        self.first: tuple[int, float] | None = None  # iteration and time of the first line
        self.logger = get_root_logger()

    def reset_start_time(self) -> None:
        """BasicSR calls it after iteration 1; the ETA counts from the first line anyway."""

    @master_only
    def __call__(self, log_vars: dict[str, Any]) -> None:
        """Print one line, and write to TensorBoard.

        Args:
            log_vars: epoch, iter, lrs, and, where they were measured, time and data_time (s per iteration); everything
                else is a value to print, of losses (`l_…`) above all.
        """
        values = dict(log_vars)
        iteration = values.pop('iter')
        rates = ''.join(f'{rate:.3e},' for rate in values.pop('lrs'))
        line = f'[{self.name[:5]}..][epoch:{values.pop("epoch"):3d}, iter:{iteration:8,d}, lr:({rates})] '
        if 'time' in values:
            seconds, wait = values.pop('time'), values.pop('data_time')
            line += f'[eta: {self._eta(iteration, seconds)}, time (data): {seconds:.3f} ({wait:.3f})] '
            line += self._speed(iteration, seconds, wait)
        for key, value in values.items():
            line += f'{key}: {value:.4e} '
            self._scalar(f'losses/{key}' if key.startswith('l_') else key, value, iteration)
        self.logger.info(line)

    def _eta(self, iteration: int, seconds: float) -> str:
        """The time that is left, from that since the first line; for the first line from the training alone."""
        now = time.perf_counter()
        if self.first is None:
            self.first = (iteration, now)
        elif iteration > self.first[0]:
            seconds = (now - self.first[1]) / (iteration - self.first[0])
        return str(timedelta(seconds=int(seconds * max(self.total_iter - iteration, 0))))

    def _speed(self, iteration: int, seconds: float, wait: float) -> str:
        images = self.batch / seconds if seconds else 0.0
        share = 100 * wait / seconds if seconds else 0.0
        self._scalar('speed/images_per_second', images, iteration)
        self._scalar('speed/data_wait_percent', share, iteration)
        parts = [f'{images:.1f} images/s', f'data wait: {share:.1f}%']
        if torch.cuda.is_initialized():
            memory = torch.cuda.max_memory_allocated() / 2**30
            self._scalar('speed/gpu_memory_gib', memory, iteration)
            parts.append(f'GPU memory: {memory:.2f} GiB')
        return f'[{", ".join(parts)}] '

    def _scalar(self, name: str, value: float, iteration: int) -> None:
        if self.tb_logger is not None:
            self.tb_logger.add_scalar(name, value, iteration)
