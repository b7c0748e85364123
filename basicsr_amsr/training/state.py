"""The saved state of a training: BasicSR's, and what an exact continuation needs besides."""
from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger

from basicsr_amsr.training import history, randomness, schedules
from basicsr_amsr.training.checkpoints import save_atomically

KEY = 'basicsr_amsr'  # beside BasicSR's keys, which stock BasicSR goes on reading



def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """`BaseModel.save_training_state`, atomic and complete; called by every process, as BasicSR's models do.

    Beside epoch, iteration, optimizers and schedulers the file holds under 'basicsr_amsr': the seed, the place in the
    epoch, and the random states of all processes.

    Args:
        epoch: that the iteration belongs to.
        current_iter: the iteration, or -1 at the end of training, of which no state is kept.

    Raises:
        UserError: the file cannot be written.
    """
    if current_iter == -1:
        return
    states = gathered(randomness.capture())
    if self.opt['rank'] != 0:
        return
    more: dict[str, Any] = {'seed': self.opt.get('manual_seed'), 'random': states}
    epochs = self.opt.get('epochs')
    if epochs is not None:
        more.update(samples=epochs.samples, joint_batch=epochs.joint_batch,
                    position=epochs.position(epoch, current_iter))
    state = {'epoch': epoch, 'iter': current_iter,
             'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
             'schedulers': [scheduler.state_dict() for scheduler in self.schedulers], KEY: more}
    save_atomically(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))


def gathered(value: Any) -> list[Any]:
    """The value of every process, by rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
    """`BaseModel.resume_training`, which puts back this process' random numbers and the best validation figures too;
    schedulers go by the options (`schedules`)."""
    given = [schedules.settings(scheduler) for scheduler in self.schedulers]
    BaseModel.resume_training(self, resume_state)
    schedules.keep_settings(self.schedulers, given, resume_state['schedulers'])
    history.resume(self, resume_state['iter'])
    if KEY not in resume_state:
        get_root_logger().info('The state was saved by BasicSR alone: random numbers start anew from the seed.')
        return
    states, rank = resume_state[KEY]['random'], self.opt['rank']
    if len(states) != self.opt['world_size']:
        get_root_logger().warning(f'Saved by {len(states)} process(es), resumed by {self.opt["world_size"]}: random '
                                  'numbers inside the network (dropout, drop path) go on differently.')
    if rank < len(states):
        randomness.restore(states[rank])
