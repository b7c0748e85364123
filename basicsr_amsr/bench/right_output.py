"""Nothing is timed that computes the wrong thing."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from basicsr_amsr.bench.contenders import Contender
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.precision import compute_dtype

CROP = 64  # side of the image on which forms are compared
# Largest difference, as a share of the largest value. On GPUs convolutions of float32 run in TF32 by default.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
TF32_TOLERANCE = 1e-2


def crop(x: torch.Tensor) -> torch.Tensor:
    """The centre of an image (1, C, H, W)."""
    height, width = (min(side, CROP) for side in x.shape[2:])
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top:top + height, left:left + width]


def wrong_output(contender: Contender, x: torch.Tensor) -> str | None:
    """Which equality does not hold on the image x, or None."""
    x = x.contiguous(memory_format=contender.layout)
    allowed = tolerance(x.device, compute_dtype(x))
    for what, own, reference in contender.equalities:
        got, wanted = own(x).float(), reference(x).float()
        if got.shape != wanted.shape:
            return f'its output is {tuple(got.shape)}, that of {what} {tuple(wanted.shape)}'
        difference = ((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)).item()
        if not difference <= allowed:  # also where it is not a number
            return f'its output differs from that of {what} by {difference:.2g} of the largest value'
    return None


def tolerance(device: torch.device, dtype: torch.dtype) -> float:
    """Largest difference allowed, as a share of the largest value."""
    return TF32_TOLERANCE if device.type == 'cuda' and dtype == torch.float32 else TOLERANCE[dtype]


def wrong_picture(contender: Contender, difference: float, device: torch.device, dtype: torch.dtype) -> str | None:
    """How the picture that a process made differs from the one expected, or None.

    Patches that another engine selects in 16 bits may be other ones where errors are alike; in fp32 they are the same.

    Args:
        difference: see Result.
    """
    if contender.view.rule == 'mga' and contender.like is not None and dtype != torch.float32:
        return 'its picture has another size, or values that are no numbers' if not math.isfinite(difference) else None
    if difference <= tolerance(device, dtype):
        return None
    return f'its picture differs from the one expected by {difference:.2g} of the largest value'


def wrong_amount(contender: Contender, keep: float, macs: float) -> str | None:
    """How what was computed differs from what was asked for, or None.

    Args:
        keep: share of the patches or windows that were computed. macs: what the image cost.
    """
    if contender.kind != 'sparse':
        return None
    if contender.keep is not None and abs(keep - contender.keep) > contender.slack + 1e-6:
        return f'it computed {keep:.4f} of the image instead of {contender.keep:.4f}'
    if macs > contender.most_macs:
        return f'it took {macs:.0f} MACs, over its budget of {contender.most_macs:.0f}'
    return None


def check_dtype(device: torch.device, dtype: torch.dtype) -> None:
    """Raise a UserError where PyTorch does not convolve and multiply in that type there."""
    try:
        x = torch.ones(1, 4, 4, 4, dtype=dtype, device=device)
        F.conv2d(x, torch.ones(4, 4, 3, 3, dtype=dtype, device=device))
        x @ x
    except RuntimeError as error:
        name = str(dtype).removeprefix('torch.')
        raise UserError(f'--dtype: PyTorch does not compute in {name} on this {device.type}: '
                        f'{" ".join(str(error).split())[:120]}') from error
