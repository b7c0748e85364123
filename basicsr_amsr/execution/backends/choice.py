"""Which backend runs, by name."""
from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.backends.interface import Backend
from basicsr_amsr.execution.backends.torch_backend import TorchBackend
from basicsr_amsr.execution.backends.triton_backend import TritonBackend

BackendName = Literal['auto', 'torch', 'triton']
BACKENDS = ('auto', 'torch', 'triton')
TORCH, TRITON = TorchBackend(), TritonBackend()


def backend_for(name: str, device: torch.device) -> Backend:
    """The backend of that name for tensors on a device.

    'auto' is 'triton' on NVIDIA GPUs where Triton is installed, else 'torch'.

    Raises:
        UserError: there is none of that name, or 'triton' was asked for where it does not run.
    """
    check_backend(name)
    problem = None if name == 'torch' else without_triton(device)
    if name == 'triton' and problem:
        raise UserError(f'backend: triton {problem}: take auto or torch.')
    # The interpreter is for tests: it is no reason to leave torch operators.
    return TRITON if name == 'triton' or (name == 'auto' and device.type == 'cuda' and not problem) else TORCH


def check_backend(name: str) -> None:
    """UserError for an unknown name."""
    if name not in BACKENDS:
        raise UserError(f"backend is '{name}'. {suggestion(str(name), BACKENDS)}")


def without_triton(device: torch.device) -> str | None:
    """Why Triton kernels do not run on a device, or None."""
    if not _installed():
        return 'is not installed (pip install triton)'
    if device.type != 'cuda' and not interpreted():
        return f'needs an NVIDIA GPU (or TRITON_INTERPRET=1, for tests), and this runs on the {device.type}'
    return None


def interpreted() -> bool:
    """Whether kernels run on the CPU, under Triton's interpreter."""
    return os.environ.get('TRITON_INTERPRET') == '1'


@cache
def _installed() -> bool:
    return find_spec('triton') is not None
