"""Finding and reading the state from which a training resumes; works without CUDA."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume

from basicsr_amsr.errors import UserError
from basicsr_amsr.safe_load import read_weights_only

STATE_KEYS = ('epoch', 'iter', 'optimizers', 'schedulers')


def latest_state(folder: str | os.PathLike[str]) -> str | None:
    """The `<iteration>.state` file of the highest iteration in the folder, or None. Other files are passed over."""
    states = {int(file.stem): file for file in Path(folder).glob('*.state') if file.stem.isdecimal()}
    return str(states[max(states)]) if states else None


def _states_folder(opt: dict[str, Any]) -> str:
    folder = opt['path'].get('training_states')
    return folder or os.path.join(opt.get('root_path', ''), 'experiments', opt['name'], 'training_states')


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to resume from, tensors on the CPU, or None for a fresh start.

    With `auto_resume`, the latest state in the experiment's own folder (under the option's root, not the working
    directory); otherwise, and where there is none yet, `path.resume_state`. Optimizers move their state to their
    parameters' device when they load it.

    Raises:
        UserError: the file is missing, damaged or unsafe, or is no training state.
    """
    path = latest_state(_states_folder(opt)) if opt.get('auto_resume') else None
    path = path or opt['path'].get('resume_state')
    if not path:
        return None
    state = read_weights_only(path, 'training state')
    missing = [key for key in STATE_KEYS if key not in state] if isinstance(state, dict) else list(STATE_KEYS)
    if missing:
        raise UserError(f'{path} is no training state (it has no {", ".join(missing)}); give a file of '
                        'experiments/<name>/training_states, such as 5000.state.')
    opt['path']['resume_state'] = path
    check_resume(opt, state['iter'])
    return state
