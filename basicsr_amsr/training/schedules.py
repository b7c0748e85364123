"""Schedulers of a resumed training: those of the option file count, and what is not as it was is said."""
from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils import get_root_logger

DERIVED = ('last_epoch', 'cumulative_period')


def settings(scheduler: Any) -> dict[str, Any]:
    """The settings of a scheduler as the options give them, before it takes a saved state."""
    return copy.deepcopy({key: value for key, value in scheduler.state_dict().items() if not key.startswith('_')})


def changes(now: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """'milestones was [100] and is [3]' for each setting that differs."""
    return [f'{key} was {_plain(saved[key])} and is {_plain(value)}' for key, value in now.items()
            if key in saved and key not in DERIVED and _plain(saved[key]) != _plain(value)]


def keep_settings(schedulers: Sequence[Any], given: Sequence[Mapping[str, Any]],
                  saved: Sequence[Mapping[str, Any]]) -> None:
    """Let schedulers that have taken their saved states go by the options, where these have changed.

    The learning rate is then what the options give for the iteration.

    Args:
        schedulers: of the model.
        given: their `settings`.
        saved: the states.
    """
    for scheduler, now, state in zip(schedulers, given, saved, strict=True):
        different = changes(now, state)
        if not different:
            continue
        get_root_logger().warning(f'Resumed with another schedule: {", ".join(different)}: that of the options counts.')
        iteration = scheduler.last_epoch
        scheduler.load_state_dict(now)
        groups = scheduler.optimizer.param_groups
        for group, rate in zip(groups, now['base_lrs'], strict=True):
            group['initial_lr'] = group['lr'] = rate
        for scheduler.last_epoch in range(iteration + 1):
            for group, rate in zip(groups, scheduler.get_lr(), strict=True):
                group['lr'] = rate
        scheduler._last_lr = [group['lr'] for group in groups]


def _plain(value: Any) -> Any:
    """Values that compare and print as in an option file."""
    if isinstance(value, Counter):
        return sorted(value.elements())
    return list(value) if isinstance(value, tuple) else value
