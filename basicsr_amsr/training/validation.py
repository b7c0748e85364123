"""Validation that leaves the training as it was."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from basicsr.models.base_model import BaseModel
from torch.nn.parallel import DistributedDataParallel

from basicsr_amsr.execution.cost.model import undecided
from basicsr_amsr.training import randomness

_validation = BaseModel.validation


def validation(self: Any, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
    """`BaseModel.validation`, after which random numbers are as before, so that it does not matter whether it ran.

    Of several processes the first validates alone, and without the wrappers that talk to the others: a wrapped network
    with buffers (RCAN's mean, batch normalisation) sends them at each forward pass, but the others are in their next
    iteration already. There they wait, for as long as `dist_params: timeout` allows.

    In a training an accelerated network skips whatever the time: its figures must not depend on the machine.
    """
    with randomness.untouched(), _unwrapped(self), undecided() if self.is_train else nullcontext():
        _validation(self, dataloader, current_iter, tb_logger, save_img)


@contextmanager
def _unwrapped(model: Any) -> Iterator[None]:
    wrapped = {name: value for name, value in vars(model).items() if isinstance(value, DistributedDataParallel)}
    vars(model).update({name: value.module for name, value in wrapped.items()})
    try:
        yield
    finally:
        vars(model).update(wrapped)
