"""Validation that leaves the training as it was."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from torch.nn.parallel import DistributedDataParallel

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost.model import undecided
from basicsr_amsr.execution.precision import DTYPES, check_arithmetic, computing_in, in_full_precision
from basicsr_amsr.reasons import is_out_of_memory
from basicsr_amsr.training import randomness
from basicsr_amsr.training.engine import by_engine
from basicsr_amsr.training.watched import IMAGE, Watched


def validation(self: Any, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
    """`BaseModel.validation`, after which random numbers are as before, so that it does not matter whether it ran.

    Of several processes the first validates alone, and without the wrappers that talk to the others: a wrapped network
    with buffers (RCAN's mean, batch normalisation) sends them at each forward pass, but the others are in their next
    iteration already. There they wait, for as long as `dist_params: timeout` allows.

    In a training an accelerated network skips whatever the time: its figures must not depend on the machine.
    With `val: dtype` the networks compute in that format, while the model runs them; what follows is float32. What
    runs them on a CPU `val: engine` says.
    BasicSR validates at the end of a training once more; what was validated in that iteration already is not again.

    Raises:
        UserError: memory ran out, or a metric cannot be computed; the line names the image.
    """
    done = (dataloader.dataset.opt['name'], current_iter)
    if self.is_train and getattr(self, 'last_validations', {}).get(done[0]) == current_iter:
        return
    with (randomness.untouched(), _unwrapped(self), _in_dtype(self, (self.opt.get('val') or {}).get('dtype', 'fp32')),
          by_engine(self, (self.opt.get('val') or {}).get('engine', 'auto')),
          undecided() if self.is_train else nullcontext(), _naming_images(self.opt)):
        BaseModel.validation(self, Watched(dataloader), current_iter, tb_logger, save_img)
    self.last_validations = {**getattr(self, 'last_validations', {}), done[0]: done[1]}


@contextmanager
def _naming_images(opt: Mapping[str, Any]) -> Iterator[None]:
    """Let errors name the image at work."""
    try:
        yield
    except Exception as error:
        image = IMAGE.get()
        if image is None:
            raise
        if is_out_of_memory(error):
            size = 'x'.join(map(str, image.size))
            raise UserError(f'{image} ({size}): memory ran out. {bounded(opt.get("network_g") or {})}') from error
        if type(error) is not UserError:
            raise
        raise UserError(f'{image}: {error}') from error
    finally:
        IMAGE.set(None)


def bounded(network: Mapping[str, Any]) -> str:
    """Says how a network computes with less memory."""
    if network.get('type') == 'AMSR':
        tile = network.get('tile')
        return f'Compute it in {"smaller " if tile else ""}tiles: network_g: tile: {tile // 2 if tile else 256}.'
    return ('Give smaller images, or compute in tiles: network_g: {type: AMSR, backbone: {type: '
            f'{network.get("type")}, …}}, selection: {{keep: 1}}, tile: 256}}.')


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
