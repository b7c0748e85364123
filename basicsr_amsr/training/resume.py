"""Finding and reading the state from which a training resumes; works without CUDA."""
from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume

from basicsr_amsr.compat.distributed import agreed
from basicsr_amsr.errors import UserError
from basicsr_amsr.files import remove_parts
from basicsr_amsr.safe_load import read_weights_only
from basicsr_amsr.training.state import KEY

STATE_KEYS = ('epoch', 'iter', 'optimizers', 'schedulers')
_logger = logging.getLogger('basicsr_amsr')


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to resume from, tensors on the CPU, or None for a fresh start.

    With `auto_resume`, the newest usable state in the experiment's own folder (under the option's root, not the
    working directory); otherwise, and where there is none yet, `path.resume_state`. Optimizers move their state to
    their parameters' device when they load it. Where the options give no `manual_seed`, the state's is taken.

    Leaves in `opt['resumed']` where the state stands in the data, for `loaders.plan_epochs`, and `path:` as the options
    give it: the weights named there are those of the start, in whose place the run's own are loaded.

    Raises:
        UserError: the file is missing, damaged or unsafe, or is no training state; with `auto_resume`, there are
            states and none is usable.
    """
    path = agreed(lambda: _choose(opt))
    if not path:
        return None
    state = read_state(path)
    opt['path']['resume_state'] = path
    given = dict(opt['path'])
    check_resume(opt, state['iter'])
    more = state.get(KEY, {})
    opt['resumed'] = {'iter': state['iter'], 'epoch': state['epoch'], 'path': given,
                      **{key: more[key] for key in ('seed', 'samples', 'joint_batch', 'position') if key in more}}
    if opt.get('manual_seed_drawn') and more.get('seed') is not None:
        opt['manual_seed'] = more['seed']
    return state


def _choose(opt: dict[str, Any]) -> str | None:
    """The file to resume from; the first process decides for all."""
    path = None
    if opt.get('auto_resume'):
        folder = _states_folder(opt)
        remove_parts(Path(folder))
        if opt['path'].get('models'):
            remove_parts(Path(opt['path']['models']))
        path = newest_usable(folder, opt)
    return path or opt['path'].get('resume_state')


def _states_folder(opt: Mapping[str, Any]) -> str:
    folder = opt['path'].get('training_states')
    return folder or os.path.join(opt.get('root_path', ''), 'experiments', opt['name'], 'training_states')


def newest_usable(folder: str | os.PathLike[str], opt: Mapping[str, Any]) -> str | None:
    """The `<iteration>.state` of the highest iteration that can be read together with its networks; other names are
    passed over, and each unusable one is a line of warning.

    Raises:
        UserError: there are states, and none is usable: a fresh start would put the experiment aside.
    """
    states = {int(file.stem): file for file in Path(folder).glob('*.state') if file.stem.isdecimal()}
    for iteration in sorted(states, reverse=True):
        try:
            read_state(states[iteration])
            for file in _networks(opt, iteration):
                read_weights_only(file)
        except UserError as error:
            _logger.warning(f'Not resumed from {states[iteration]}: {error}')
        else:
            return str(states[iteration])
    if states:
        raise UserError(f'--auto_resume: none of the {len(states)} states in {folder} is usable (see above). Name one '
                        'with path:resume_state, or start without --auto_resume, which puts the experiment aside.')
    return None


def _networks(opt: Mapping[str, Any], iteration: int) -> list[str]:
    """The files of weights that BasicSR will load with the state of an iteration."""
    ignored = opt['path'].get('ignore_resume_networks') or []
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in ignored]
    return [os.path.join(opt['path']['models'], f'net_{label}_{iteration}.pth') for label in labels]


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a state file.

    Raises:
        UserError: it is missing, damaged or unsafe, or holds something else.
    """
    state = read_weights_only(path, 'training state')
    missing = [key for key in STATE_KEYS if key not in state] if isinstance(state, dict) else list(STATE_KEYS)
    if missing:
        raise UserError(f'{path} is no training state (it has no {", ".join(missing)}); give a file of '
                        'experiments/<name>/training_states, such as 5000.state.')
    return state
