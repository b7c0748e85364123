"""A program with predictions at skipped pixels, every pixel computed: differentiable, and the sparse form's oracle."""
from __future__ import annotations

import torch
from torch import nn

from basicsr_amsr.execution.region.dense import run_dense
from basicsr_amsr.execution.region.prediction import Prediction, rectified
from basicsr_amsr.execution.region.program import Program
from basicsr_amsr.selection.regions import expand_blocks


def run_masked(program: Program, net: nn.Module, x: torch.Tensor, tiles: torch.Tensor, size: int,
               prediction: Prediction) -> torch.Tensor:
    """The image of a network whose pixels outside the active tiles are predicted.

    What a convolution, an average or a map operation reads of a skipped pixel is the value that `prediction` makes of
    the anchor; the image at skipped pixels is the light tail's.

    Args:
        program, net: the network and its weights.
        x: (B, C, H, W), the LR images.
        tiles: bool (B, ⌈H/size⌉, ⌈W/size⌉), the active ones.
        size: their side.
        prediction: what skipped pixels get.

    Returns:
        (B, C, scale · H, scale · W).
    """
    masks: dict[int, torch.Tensor] = {}

    def mask(scale: int) -> torch.Tensor:
        if scale not in masks:
            masks[scale] = expand_blocks(tiles, size * scale, x.shape[-2] * scale, x.shape[-1] * scale)
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
