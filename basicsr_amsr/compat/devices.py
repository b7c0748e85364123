"""Running BasicSR's models where there is no CUDA device."""
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.dist_util import master_only

from basicsr_amsr.errors import UserError


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


def training_device(opt: Mapping[str, Any]) -> torch.device:
    """Where this process trains, by its options."""
    return torch.device('cuda', torch.cuda.current_device()) if opt['num_gpu'] else torch.device('cpu')
