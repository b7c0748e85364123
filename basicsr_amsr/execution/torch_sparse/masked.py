"""Computes a whole network at every pixel and puts predictions in at skipped ones.

This is what calibration is fitted to, the form that trains, and the reference of the sparse form.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.graph.run_by_torch import Weights, call
from basicsr_amsr.execution.precision import compute_dtype, in_full_precision
from basicsr_amsr.execution.torch_sparse.prediction import Prediction, rectified
from basicsr_amsr.execution.torch_sparse.sparse_program import Program
from basicsr_amsr.selection.neighbourhoods import expand_patches

Read = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def run_dense(program: Program, net: nn.Module, x: torch.Tensor, read: Read) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes a network at every pixel; `read` decides what its layers find at skipped pixels.

    Args:
        program: the network, as it is for the images' size.
        net: its weights.
        x: (B, C, H, W), the LR image.
        read: called as `read(value, its map, the anchor)` for each predicted value that a layer reads beyond the active
            pixels; returns the map that it reads.

    Returns:
        The last value, and the anchor's.
    """
    values: list[Any] = [x]
    weights, size, anchor = Weights(net, program.graph), (len(x), *x.shape[2:]), program.anchor

    def around(value: int) -> Any:
        parts = [read(part, values[part], values[anchor]) if part in program.contexts else values[part]
                 for part in program.parts(value)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    for value, op in enumerate(program.graph.ops, 1):
        if value <= anchor:
            values.append(before_anchor(program, value, weights, {i: values[i] for i in op.inputs}, x))
        elif program.facts[value].kind == 'conv' and program.looks_around(value):
            values.append(call(op, {i: around(i) for i in op.inputs}, weights, size, x))
        else:
            given = {i: read(i, values[i], values[anchor]) if program.looks_around(value) and i in program.contexts
                     else values[i] for i in op.inputs}
            values.append(call(op, given, weights, size, x))
        for part in {part for i in op.inputs for part in (i, *program.parts(i))}:
            if part not in (anchor, program.output) and program.last_reader[part] == value:
                values[part] = None  # nobody reads it again
    return values[program.output], values[anchor]


def before_anchor(program: Program, value: int, weights: Weights, inputs: dict[int, Any], x: torch.Tensor) -> Any:
    """A value up to the anchor's, in the format of the image `x` also under autocast.

    Predictions are fitted to the anchor as it is: rounded weights of the first convolution would shift all of them
    (RFDN x4: 42 dB in place of 55). The anchor itself is rounded for its readers.
    """
    with in_full_precision(x.device):
        result = call(program.graph.ops[value - 1], inputs, weights, (len(x), *x.shape[2:]), x)
    return result.to(compute_dtype(x)) if value == program.anchor else result


def run_masked(program: Program, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, size: int,
               prediction: Prediction) -> torch.Tensor:
    """The image of a network whose pixels outside the active patches are predicted; differentiable.

    What a convolution, an average or a map operation reads of a skipped pixel is the value that `prediction` makes of
    the anchor; the image at skipped pixels is the light tail's.

    Args:
        program, net: the network and its weights.
        x: (B, C, H, W), the LR images.
        patches: bool (B, ⌈H/size⌉, ⌈W/size⌉), the active ones.
        size: their side.
        prediction: what skipped pixels get.

    Returns:
        (B, C, scale · H, scale · W).
    """
    masks: dict[int, torch.Tensor] = {}

    def mask(scale: int) -> torch.Tensor:
        if scale not in masks:
            masks[scale] = expand_patches(patches, size * scale, x.shape[-2] * scale, x.shape[-1] * scale)
        return masks[scale]

    features: list[torch.Tensor] = []

    def read(value: int, values: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        if not features:
            features.append(rectified(anchor))
        predicted = prediction.contexts[value].map(features[0])
        return torch.where(mask(program.scale(value)), values, predicted.to(values.dtype))

    image, anchor = run_dense(program, net, x, read)
    if prediction.tail is None:
        return image
    return torch.where(mask(program.scale(program.output)), image, prediction.tail.map(x, anchor).to(image.dtype))
