"""Which backend runs, by name."""
from __future__ import annotations

from functools import cache
from typing import Literal

import torch

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.backends.interface import Backend
from basicsr_amsr.execution.backends.torch_backend import TorchBackend
from basicsr_amsr.execution.backends.triton_backend import TritonBackend
from basicsr_amsr.execution.triton.interpreter import interpreted

BackendName = Literal['auto', 'torch', 'triton']
BACKENDS = ('auto', 'torch', 'triton')
TORCH, TRITON = TorchBackend(), TritonBackend()


def backend_for(name: str, device: torch.device) -> Backend:
    """The backend of that name for tensors on a device.

    'auto' is 'triton' on NVIDIA GPUs where Triton runs, else 'torch'.

    Raises:
        UserError: there is none of that name, or 'triton' was asked for where it does not run.
    """
    check_backend(name)
    # Triton's interpreter is for tests: it is no reason to leave torch operators.
    if name == 'torch' or (name == 'auto' and device.type != 'cuda'):
        return TORCH
    problem = without_triton(device)
    if problem and name == 'triton':
        raise UserError(f'backend: triton needs {problem}: take auto or torch.')
    return TORCH if problem else TRITON


def check_backend(name: str) -> None:
    """UserError for an unknown name."""
    if name not in BACKENDS:
        raise UserError(f"backend is '{name}'. {suggestion(str(name), BACKENDS)}")


def without_triton(device: torch.device) -> str | None:
    """What is missing for Triton kernels to run on a device, or None."""
    if not interpreted():
        if device.type != 'cuda' or torch.version.hip:
            return f'an NVIDIA GPU (or TRITON_INTERPRET=1, for tests), and this runs on the {device.type}'
        if _capability(device) < (8, 0):
            return 'a GPU of compute capability 8.0 or more'
    return None if _importable() else 'the package triton, 3.4 or newer'


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


@cache
def _importable() -> bool:
    try:
        import triton
    except Exception:  # whatever a package that does not fit this machine raises
        return False
    return hasattr(triton, 'knobs')
