"""Validation that leaves the training as it was."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from torch.nn.parallel import DistributedDataParallel

from basicsr_amsr.execution.cost.model import undecided
from basicsr_amsr.execution.precision import DTYPES, check_arithmetic, computing_in, in_full_precision
from basicsr_amsr.training import randomness

_validation = BaseModel.validation


def validation(self: Any, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
    """`BaseModel.validation`, after which random numbers are as before, so that it does not matter whether it ran.

    Of several processes the first validates alone, and without the wrappers that talk to the others: a wrapped network
    with buffers (RCAN's mean, batch normalisation) sends them at each forward pass, but the others are in their next
    iteration already. There they wait, for as long as `dist_params: timeout` allows.

    In a training an accelerated network skips whatever the time: its figures must not depend on the machine.

    With `val: dtype` the networks compute in that format, while the model runs them; what follows is float32.
    """
    with (randomness.untouched(), _unwrapped(self), _in_dtype(self, (self.opt.get('val') or {}).get('dtype', 'fp32')),
          undecided() if self.is_train else nullcontext()):
        _validation(self, dataloader, current_iter, tb_logger, save_img)


@contextmanager
def _in_dtype(model: Any, name: str) -> Iterator[None]:
    if name == 'fp32':
        yield
        return
    slow = check_arithmetic(name, model.device, 'val: dtype')
    if slow:
        get_root_logger().warning(slow)
    before, test = vars(model).get('test'), model.test

    def in_dtype() -> None:
        with computing_in(DTYPES[name], model.device):
            test()
        if torch.is_tensor(output := getattr(model, 'output', None)):
            model.output = output.float()

    model.test = in_dtype
    try:
        with in_full_precision(model.device):  # around the images, so that weights are converted once for all of them
            yield
    finally:
        del model.test
        if before is not None:
            model.test = before


@contextmanager
def _unwrapped(model: Any) -> Iterator[None]:
    wrapped = {name: value for name, value in vars(model).items() if isinstance(value, DistributedDataParallel)}
    vars(model).update({name: value.module for name, value in wrapped.items()})
    try:
        yield
    finally:
        vars(model).update(wrapped)
