"""A plugin for `plugins:` in an option file that writes down every loss of a training and can kill it.

LOSSES=FILE in the environment: rank 0 appends a line {"iter": …, losses} after every iteration. KILL=PLACE:ITERATION:
the process sends itself SIGKILL there; PLACE is one of PLACES. KILL_RANK says which process, 0 by default.
"""
from __future__ import annotations

import functools
import io
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.dist_util import get_dist_info

from basicsr_amsr.models.amsr_model import AMSRModel
from basicsr_amsr.models.mga_model import MGAModel
from basicsr_amsr.training.trained_model import TrainedModel

PLACES = ('inside an iteration', 'while writing the state', 'right after saving', 'during validation',
          'entering the next step', 'after the last iteration')
place, _, number = os.environ.get('KILL', '').partition(':')
kill_iteration = int(number or 0)
now = {'iteration': 0}


def reached(where: str) -> bool:
    """Whether this is the place to die."""
    rank = get_dist_info()[0]
    return place == where and now['iteration'] == kill_iteration and rank == int(os.environ.get('KILL_RANK', 0))


def die(*_: Any, **__: Any) -> None:
    """As `kill -9` from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, make: Callable[..., Callable[..., Any]]) -> None:
    """Replace `owner.name` by what `make` makes of it."""
    old = getattr(owner, name)
    setattr(owner, name, functools.wraps(old)(make(old)))


def recorded(optimize: Callable[..., Any]) -> Callable[..., Any]:
    def optimize_parameters(self: Any, current_iter: int) -> None:
        now['iteration'] = current_iter
        if reached('inside an iteration'):
            self.optimizer_g.step = die
        optimize(self, current_iter)
        if os.environ.get('LOSSES') and get_dist_info()[0] == 0:
            with open(os.environ['LOSSES'], 'a', encoding='utf-8') as file:
                file.write(json.dumps({'iter': current_iter, **self.get_current_log(),
                                       'lr': self.get_current_learning_rate()}) + '\n')
        if reached('after the last iteration'):
            die()

    return optimize_parameters


def dying_after(where: str) -> Callable[..., Any]:
    def make(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if reached(where):
                die()
            return result

        return call

    return make


def half_a_state(save: Callable[..., Any]) -> Callable[..., Any]:
    def call(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        if 'optimizers' in content and reached('while writing the state'):
            whole = io.BytesIO()
            save(content, whole, *args, **kwargs)
            file.write(whole.getvalue()[:len(whole.getvalue()) // 2])
            file.flush()
            die()
        save(content, file, *args, **kwargs)

    return call


for model in (SRModel, MGAModel, AMSRModel):
    wrap(model, 'optimize_parameters', recorded)
wrap(TrainedModel, 'save_training_state', dying_after('right after saving'))
wrap(SRModel, 'get_current_visuals', dying_after('during validation'))
wrap(MGAModel, 'enter_step', dying_after('entering the next step'))
wrap(torch, 'save', half_a_state)
