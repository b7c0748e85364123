"""A program with every pixel computed: the reference of the sparse form, the form that trains, and what is fitted."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.precision import compute_dtype, in_full_precision
from basicsr_amsr.execution.region.program import Program
from basicsr_amsr.execution.unit import join

Read = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def run_dense(program: Program, net: nn.Module, x: torch.Tensor, read: Read) -> tuple[torch.Tensor, torch.Tensor]:
    """All values, where `read(value, its map, the anchor)` gives what is read of a value that skipped pixels predict.

    Args:
        program: the network.
        net: its weights.
        x: (B, C, H, W), the LR image.
        read: called where a step looks beyond the active pixels, for each value that it needs there.

    Returns:
        The last value, and the anchor's.
    """
    values: list[Any] = [x]
    steps = program.bind(net)

    def around(value: int) -> Any:
        parts = [read(part, values[part], values[program.anchor]) if part in program.contexts else values[part]
                 for part in program.parts(value)]
        return parts[0] if len(parts) == 1 else join(*parts)

    for number, (step, call) in enumerate(steps, 1):
        if number <= program.anchor:
            values.append(before_anchor(program, number, call, [values[i] for i in step.inputs], x))
        elif not program.looks_around(number):
            values.append(call(*(values[i] for i in step.inputs)))
        elif step.kind == 'conv':
            values.append(call(*map(around, step.inputs)))
        else:
            values.append(call(*(read(i, values[i], values[program.anchor]) if i in program.contexts else values[i]
                                 for i in step.inputs)))
        for part in {part for i in step.inputs for part in (i, *program.parts(i))}:
            if part != program.anchor and program.last_reader[part] == number:
                values[part] = None  # nobody reads it again
    return values[-1], values[program.anchor]



def before_anchor(program: Program, value: int, call: Callable[..., Any], inputs: list[Any], x: torch.Tensor) -> Any:
    """A value up to the anchor's, in the format of the image `x` also under autocast.

    Predictions are fitted to the anchor as it is: rounded weights of the first convolution would shift all of them
    (RFDN x4: 42 dB in place of 55). The anchor itself is rounded for its readers.
    """
    with in_full_precision(x.device):
        result = call(*inputs)
    return result.to(compute_dtype(x)) if value == program.anchor else result
