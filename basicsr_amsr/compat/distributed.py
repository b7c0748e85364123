"""Starting several processes: torchrun and Slurm, on GPUs (NCCL) or without (Gloo)."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from basicsr_amsr.errors import UserError

# Minutes that a process waits for another one: the others wait while the first one validates or writes. PyTorch's 10
# (NCCL) or 30 end a run whose validation takes longer. A process that dies is noticed by the launcher, not by this.
TIMEOUT = 240


def agreed(choose: Callable[[], Any]) -> Any:
    """Calls `choose` in the first process; every process gets its result, or its UserError."""
    if not (dist.is_available() and dist.is_initialized()):
        return choose()
    result: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            result[0] = choose()
        except UserError as error:
            result[1] = str(error)
    dist.broadcast_object_list(result, src=0)
    if result[1] is not None:
        raise UserError(result[1])
    return result[0]


def _number(name: str, launcher: str, how: str) -> int:
    value = os.environ.get(name)
    if value is None:
        raise UserError(f'--launcher {launcher} needs {name} in the environment; start with {how}.')
    return int(value)


def local_rank(rank: int) -> int:
    """The process' number on its own machine: LOCAL_RANK where the launcher sets it, else from the global rank."""
    value = os.environ.get('LOCAL_RANK')
    if value is not None:
        return int(value)
    return rank % max(torch.cuda.device_count(), 1)


def _slurm_environment(port: int | None) -> None:
    """Describe a Slurm step to PyTorch: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT."""
    rank = _number('SLURM_PROCID', 'slurm', 'srun')
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    hosts = subprocess.run(['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']],
                           capture_output=True, text=True, check=True).stdout.split()
    os.environ.update(MASTER_ADDR=hosts[0], RANK=str(rank), WORLD_SIZE=os.environ['SLURM_NTASKS'],
                      LOCAL_RANK=os.environ.get('SLURM_LOCALID') or str(rank % max(torch.cuda.device_count(), 1)))


def init_dist(launcher: str, backend: str = 'nccl', port: int | None = None, timeout: float = TIMEOUT,
              **kwargs: Any) -> None:
    """Join the process group that the launcher describes in the environment.

    Without CUDA, Gloo takes the place of NCCL. With CUDA, the process uses the GPU of its LOCAL_RANK. The start
    method of worker processes is left as Python has it.

    Args:
        launcher: 'pytorch' (torchrun) or 'slurm' (srun).
        backend: of `torch.distributed`.
        port: of the first process, Slurm only; 29500 where neither this nor MASTER_PORT is given.
        timeout: minutes that a process waits for another one.
        kwargs: to `torch.distributed.init_process_group`.

    Raises:
        UserError: not started by that launcher, or more processes than GPUs on this machine.
        ValueError: another launcher.
    """
    if launcher == 'slurm':
        _slurm_environment(port)
    elif launcher != 'pytorch':
        raise ValueError(f'Invalid launcher type: {launcher}')
    rank = _number('RANK', launcher, 'torchrun --nproc_per_node=N')
    gpus = torch.cuda.device_count()
    if gpus:
        device = local_rank(rank)
        if device >= gpus:
            raise UserError(f'Process {device} of this machine has no GPU: {gpus} visible; start at most {gpus}.')
        torch.cuda.set_device(device)
    elif backend == 'nccl':
        backend = 'gloo'
    dist.init_process_group(backend=backend, timeout=timedelta(minutes=timeout), **kwargs)
