"""Dense-masked reference: computes every pixel and keeps the active ones. What the sparse forms must equal.

It is differentiable, so it is also the form that trains.
"""
from __future__ import annotations

import torch

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.unit import INSIDE, ConvUnit, Inside, pointwise


def dense_masked(unit: ConvUnit, x: torch.Tensor, mask: torch.Tensor, inside: Inside = 'masked',
                 skipped: torch.Tensor | None = None) -> torch.Tensor:
    """The unit where the mask is true, its input elsewhere.

    `masked`: the input of each inner convolution is multiplied by the mask, so inner pixels outside it are as 0 as the
    padding. `exact`: inner pixels are those of the dense unit, so active pixels have exactly their dense values.

    Args:
        unit: what is computed.
        x: (B, C, H, W).
        mask: bool (B, 1, H, W).
        inside: 'masked' or 'exact'.
        skipped: (B, C, H, W), what skipped pixels get in place of x.

    Returns:
        (B, C, H, W).
    """
    check_inside(inside)
    body = pointwise(unit.before, x)
    for number, step in enumerate(unit.steps):
        if number and inside == 'masked':
            body = body * mask
        body = pointwise(step.after, step.conv(body))
    return torch.where(mask, unit.combine(x, body), x if skipped is None else skipped)


def check_inside(inside: str) -> None:
    """UserError for an unknown mode."""
    if inside not in INSIDE:
        raise UserError(f"inside is '{inside}'. {suggestion(inside, INSIDE)}")
