"""Running BasicSR's models where there is no CUDA device."""
from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils.dist_util import master_only
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from basicsr_amsr.errors import UserError
from basicsr_amsr.training.acceleration import Acceleration

_original_init = BaseModel.__init__


@master_only
def _warn(message: str) -> None:
    logging.getLogger('basicsr_amsr').warning(message)


def settle_devices(opt: dict[str, Any]) -> None:
    """Turn `num_gpu` into a number, and what needs CUDA off where there is none; one line of warning if it was asked.

    'auto' (and nothing given) means every visible CUDA device, which is 0 on a machine without one. Without CUDA,
    datasets lose `prefetch_mode: cuda` and `pin_memory`, which would fail or warn.

    Raises:
        UserError: `num_gpu` is neither 'auto' nor a number of at least 0.
    """
    wanted = opt.get('num_gpu', 'auto')
    if wanted is None or wanted == 'auto':
        opt['num_gpu'] = torch.cuda.device_count()
    elif not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
        raise UserError(f"num_gpu is {wanted!r}; give 'auto' or a number of at least 0.")
    if torch.cuda.is_available():
        return
    if opt['num_gpu']:
        _warn(f'num_gpu is {wanted}, but no CUDA device is available: running on the CPU.')
        opt['num_gpu'] = 0
    for dataset in (opt.get('datasets') or {}).values():
        if dataset.get('prefetch_mode') == 'cuda':
            dataset['prefetch_mode'] = None
        if dataset.get('pin_memory'):
            dataset['pin_memory'] = False


@functools.wraps(_original_init)
def init_model(self: BaseModel, opt: dict[str, Any]) -> None:
    """`BaseModel.__init__`, on the CPU where the options ask for CUDA devices and there is none."""
    settle_devices(opt)
    _original_init(self, opt)


def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
    """Move a network to the model's device, accelerate its training, wrap it for several processes or several GPUs.

    Raises:
        UserError: `train:` asks for an acceleration that is not possible, or not with several GPUs in one process.
    """
    net = net.to(self.device)
    if self.is_train:
        acceleration = Acceleration.from_options(self.opt.get('train') or {})
        if acceleration != Acceleration() and self.opt['num_gpu'] > 1 and not self.opt['dist']:
            raise UserError('train: channels_last, amp and compile need one process for each GPU; set num_gpu: 1, or '
                            f'start with torchrun --nproc_per_node={self.opt["num_gpu"]} -m basicsr_amsr train … '
                            '--launcher pytorch.')
        acceleration.apply(net)
    if self.opt['dist']:
        on_cuda = self.device.type == 'cuda'
        return DistributedDataParallel(
            net,
            device_ids=[torch.cuda.current_device()] if on_cuda else None,
            find_unused_parameters=self.opt.get('find_unused_parameters', False))
    return DataParallel(net) if self.opt['num_gpu'] > 1 else net


def training_device(opt: Mapping[str, Any]) -> torch.device:
    """Where this process trains, by its options."""
    return torch.device('cuda', torch.cuda.current_device()) if opt['num_gpu'] else torch.device('cpu')
