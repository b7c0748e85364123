"""Checkpoints that are there as a whole or not at all, whenever the process dies."""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.dist_util import master_only
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.files import sync_folder, writing
from basicsr_amsr.finite import not_finite


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """`torch.save` into a hidden file beside `path`, which takes its place once everything is on the disk.

    Raises:
        UserError: it cannot be written (disk full, no permission); what was at `path` before is still there.
    """
    path = Path(path)
    try:
        with writing(path, sync=True) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch's zip writer makes a RuntimeError of a failed write
        reason = _reason(error)
        raise UserError(f'Cannot write {path}: {reason}. What was saved before is as it was: make room, then go on '
                        'with --auto_resume.') from error
    sync_folder(path.parent)


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return ' '.join(str(error).split())[:200]


@master_only
def save_network(self: Any, net: nn.Module | list[nn.Module], net_label: str, current_iter: int | str,
                 param_key: str | list[str] = 'params') -> None:
    """`BaseModel.save_network`, atomic: `models/<net_label>_<current_iter>.pth` holds the networks' weights by key.

    Args:
        net: one network or several, wrapped for several devices or not.
        net_label: such as 'net_g'.
        current_iter: the iteration, or -1 for 'latest'.
        param_key: the key of each network in the file.

    Raises:
        UserError: the file cannot be written; the weights hold values that are not finite, which no file gets.
    """
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    states = [self.get_bare_model(one).state_dict() for one in nets]
    content = {key: {name.removeprefix('module.'): value.cpu() for name, value in state.items()}
               for key, state in zip(keys, states, strict=True)}
    for state in content.values():
        broken = not_finite(state)
        if broken:
            raise UserError(f'train: {net_label}: {broken}: it is not saved. What was saved before is as it was: lower '
                            'train: optim_g: lr and go on from it with --auto_resume, or start anew.')
    save_atomically(content, checkpoint_path(self.opt, net_label, current_iter))


def checkpoint_path(opt: Mapping[str, Any], net_label: str, current_iter: int | str, suffix: str = '.pth') -> Path:
    """`models/<net_label>_<current_iter>` of a run; iteration -1 is 'latest'."""
    label = 'latest' if current_iter == -1 else current_iter
    return Path(opt['path']['models'], f'{net_label}_{label}{suffix}')
