"""In which number format networks compute at inference: PyTorch's autocast, by the names of options and flags."""
from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch

from basicsr_amsr.errors import UserError

DTYPES: dict[str, torch.dtype] = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def computing_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Inside, convolutions and matrix products compute in `dtype`; weights and images stay float32.

    That is as fast as a network whose weights and images are converted, and nearer to float32: masks are those of the
    image itself, and what a network adds to its image or takes off it keeps its digits.
    """
    if dtype == torch.float32 or device.type == 'meta':  # where nothing is computed
        return nullcontext()
    return torch.autocast(device.type, dtype)


def in_full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Inside, everything computes in the number format of what it is given."""
    return nullcontext() if device.type == 'meta' else torch.autocast(device.type, enabled=False)


def undisturbed() -> AbstractContextManager[object]:
    """Inside, nothing records gradients, tensors are no inference tensors, and the CPU has no autocast."""
    if not (torch.is_grad_enabled() or torch.is_inference_mode_enabled() or torch.is_autocast_enabled('cpu')):
        return nullcontext()
    stack = ExitStack()
    for each in (torch.inference_mode(False), torch.no_grad(), torch.autocast('cpu', enabled=False)):
        stack.enter_context(each)
    return stack


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """In which format a convolution of `x` computes here and now."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if kind != 'meta' and torch.is_autocast_enabled(kind) else x.dtype


def check_arithmetic(name: str, device: torch.device, where: str) -> str | None:
    """Checks whether a device computes in a number format, and does so fast.

    Args:
        name: of `DTYPES`. where: the option or flag, for messages.

    Returns:
        A line for the user where it computes in it, but not fast; else None.

    Raises:
        UserError: a GPU that has no such arithmetic.
    """
    if name != 'bf16':
        return None
    if device.type == 'cuda' and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f'{where}: {torch.cuda.get_device_name(device)} has no bf16; use fp16 or fp32.')
    if device.type == 'cpu' and not cpu_has_bf16():
        return f'{where}: this CPU has no instructions for bf16: it is slower than fp32 here.'
    return None


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 by instructions of its own: AVX512_BF16, AMX, or those of ARMv8.6."""
    if not hasattr(torch.cpu, 'get_capabilities'):  # before PyTorch 2.12; this one takes AVX-512 alone for enough
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return any(cpu_has(name) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))


def cpu_has(name: str) -> bool:
    """Whether this CPU has instructions that `torch.cpu.get_capabilities` names so; before PyTorch 2.12 False."""
    return hasattr(torch.cpu, 'get_capabilities') and bool(torch.cpu.get_capabilities().get(name))
