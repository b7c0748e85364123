"""Dense-masked reference: computes every pixel and keeps the active ones. What the sparse forms must equal.

It is differentiable, so it is also the form that trains.
"""
from __future__ import annotations

import torch

from basicsr_amsr.execution.graph.run_by_torch import average_of_active
from basicsr_amsr.execution.plan import Plan
from basicsr_amsr.execution.unit import Unit, join


def dense_masked(unit: Unit, x: torch.Tensor, mask: torch.Tensor, skipped: torch.Tensor | None = None) -> torch.Tensor:
    """The unit where the mask is true, its input elsewhere.

    What a convolution reads is multiplied by the mask, as far as it comes from another convolution, so inner pixels
    outside it are as 0 as the padding. An average is that of the active pixels.

    Args:
        unit: what is computed.
        x: (B, C, H, W).
        mask: bool (B, 1, H, W).
        skipped: (B, C, H, W), what skipped pixels get in place of x.

    Returns:
        (B, C, H, W).
    """
    plan = Plan(unit)
    values = [x]

    def read(value: int) -> torch.Tensor:
        parts = [values[i] if plan.outer[i] else values[i] * mask for i in plan.parts(value)]
        return join(*parts) if len(parts) > 1 else parts[0]

    for node in unit.nodes:
        if node.kind == 'conv' and not plan.of_image[node.inputs[0]]:
            values.append(node.call(read(node.inputs[0])))
        elif node.kind == 'pool':
            values.append(average_of_active(values[node.inputs[0]], mask))
        else:
            values.append(node.call(*(values[i] for i in node.inputs)))
    return torch.where(mask, values[-1], x if skipped is None else skipped)
