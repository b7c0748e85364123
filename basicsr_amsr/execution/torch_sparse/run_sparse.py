"""A calibrated network at the active patches, and its image, on any device."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.gather import pixel_rows
from basicsr_amsr.execution.precision import in_full_precision
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.masked import before_anchor
from basicsr_amsr.execution.torch_sparse.patches import Patches
from basicsr_amsr.execution.torch_sparse.prediction import LightTail, Prediction, rectified
from basicsr_amsr.execution.torch_sparse.run import Run, enlarged
from basicsr_amsr.execution.torch_sparse.sparse_program import Program
from basicsr_amsr.execution.uncompiled import uncompiled
from basicsr_amsr.host import on_device


@uncompiled  # the numbers of patches are data: nothing of it can be traced
@torch.no_grad()
def run_sparse(program: Program, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, size: int,
               prediction: Prediction, backend: str = 'torch') -> torch.Tensor:
    """Equals `run_masked`, but computes active patches alone. For inference only.

    Args:
        program, net, x, patches, size, prediction: as in `run_masked`. A size of 1 is single pixels.
        backend: 'torch', 'triton' or 'auto', see `backend_for`.

    Returns:
        (B, C, scale · H, scale · W), channels-last.
    """
    engine = backend_for(backend, x.device)
    layout = Layout(patches, size, x.shape[2], x.shape[3], program.halo, engine.whole, x.device)
    run = _Predicted(prediction, program, net, x, layout, engine)
    run.stages()
    if program.form(program.output) != 'rows':
        return run.values[program.output]
    scale = program.scale(program.output)
    rows = run.values[program.output][:layout.rows(scale)]
    image = rows.new_empty(len(x), *layout.whole_sides(scale), rows.shape[1])
    layout.write_whole(rows, scale, image)
    if prediction.tail is not None:
        write_tail(prediction.tail, x, run.values[program.anchor], ~layout.host, size, image)
    return image.permute(0, 3, 1, 2)[:, :, :x.shape[2] * scale, :x.shape[3] * scale]


def write_tail(tail: LightTail, x: torch.Tensor, anchor: torch.Tensor, patches: np.ndarray, size: int,
               image: torch.Tensor) -> None:
    """Write the light tail's pixels of the skipped `patches` into an image of whole patches (B, height, width, C)."""
    reach, scale = tail.border, tail.scale
    padded = tail.padded(x)
    seen, features = pixel_rows(padded), pixel_rows(anchor)
    skipped = Patches(patches, size, x.shape[2], x.shape[3], x.device)
    wide = Patches(patches, size, padded.shape[2], padded.shape[3], x.device) if reach else skipped
    place = skipped.own(1).clamp(min=0)
    around = _clamped(wide, size, reach)
    rows = image.new_empty(skipped.count * skipped.area(scale), image.shape[3])
    step = skipped.chunk((size + 2 * reach)**2 * anchor.shape[1])
    for start in range(0, skipped.count, step):
        part = slice(start, start + step)
        squares = seen[around[part]].view(-1, size + 2 * reach, size + 2 * reach, x.shape[1]).permute(0, 3, 1, 2)
        values = pixel_rows(F.conv2d(squares, tail.image))
        feature = features.index_select(0, place[part].flatten())
        values = values + tail.feature.linear(feature)
        large = enlarged(values, size, scale, shuffle=True)
        rows[start * (size * scale)**2:][:len(values) * scale**2].view(large.shape).copy_(large)
    skipped.write_whole(rows, scale, image)


def _clamped(wide: Patches, size: int, reach: int) -> torch.Tensor:
    """Positions (patches, (size + 2·reach)²) in the padded image; where a patch goes beyond it, of its last pixels."""
    step = torch.arange(size + 2 * reach, device=wide.device)
    y = ((wide.row * size)[:, None] + step).clamp(max=wide.height - 1)
    x = ((wide.col * size)[:, None] + step).clamp(max=wide.width - 1)
    return (((wide.image * wide.height)[:, None] + y)[:, :, None] * wide.width + x[:, None, :]).flatten(1)


class _Predicted(Run):
    """A pass whose skipped pixels are predicted where they are read."""

    def __init__(self, prediction: Prediction, *args: Any) -> None:
        super().__init__(*args)
        self.prediction = prediction
        self.band: torch.Tensor | None = None  # features of its pixels
        self.rest: torch.Tensor | None = None  # of the skipped pixels
        self.rest_sums: torch.Tensor | None = None  # their sums over each image

    def _patch_by_patch(self, number: int) -> None:
        super()._patch_by_patch(number)
        for value in self.program.kept.intersection(self.program.stages[number]):
            if value not in self.values:  # no patch is active
                self.values[value] = self._space(value, self.values[self.program.anchor].dtype)

    def _release(self, number: int) -> None:
        super()._release(number)
        wanted = {(self.layout.zero(scale) + 1, channels) for scale, channels in self.program.later_shapes[number]}
        self.layout.spare = {key: spare for key, spare in self.layout.spare.items() if key[:2] in wanted}

    def _space(self, value: int, dtype: torch.dtype) -> torch.Tensor:
        """The room that `Run` makes, with the value's band predicted."""
        space, layout = super()._space(value, dtype), self.layout
        if self.program.contexts.get(value, (0, 0)) != (0, 0) and layout.band_pixels:
            if self.band is None:
                self.band = self._features(layout.band)
            space[layout.rows(self.program.scale(value)):-1] = self.prediction.contexts[value].rows(self.band)
        return space

    def _features(self, positions: torch.Tensor) -> torch.Tensor:
        """The features of anchor pixels that predictions are made from, row by row."""
        return rectified(self._map_rows(self.program.anchor).index_select(0, positions))

    def _whole(self, value: int) -> Any:
        """A value that is known everywhere, or for each image."""
        inputs = self.program.inputs(value)
        if value <= self.program.anchor:
            return before_anchor(self.program, value, self.weights, {i: self.values[i] for i in inputs}, self.x)
        if self.program.facts[value].kind == 'pool' and self.program.form(inputs[0]) == 'rows':
            return self._average(inputs[0])
        return self._call(value, {i: self._complete(i) if self.program.form(i) == 'rows' else self.values[i]
                                  for i in inputs})

    def _average(self, value: int) -> torch.Tensor:
        """The mean of a value over each image, (B, C, 1, 1): predictions are affine, so is their sum."""
        layout, scale = self.layout, self.program.scale(value)
        rows = self.values[value]
        wide = torch.promote_types(rows.dtype, torch.float32)
        total = layout.sums(rows, scale, wide)
        area = layout.height * layout.width
        if layout.skipped_of_images.any():
            affine = self.prediction.contexts[value].changed(lambda tensor: tensor.to(total))
            sums = self._rest_sums(wide)
            with in_full_precision(sums.device):
                predicted = affine.linear(sums[:, :-1], bias=False) + sums[:, -1:] * affine.bias
            total += predicted.view(self.batch, -1, scale**2).sum(2)
        return (total / (area * scale**2)).to(rows.dtype)[..., None, None]

    def _rest_sums(self, dtype: torch.dtype) -> torch.Tensor:
        """Each image's sum of the features of its skipped pixels, and their number, (B, features + 1)."""
        if self.rest_sums is None:
            features, layout = self._rest().to(dtype), self.layout
            self.rest_sums = features.new_zeros(self.batch, features.shape[1] + 1)
            images = layout.skipped // (layout.height * layout.width)
            self.rest_sums[:, :-1].index_add_(0, images, features)
            self.rest_sums[:, -1] = on_device(layout.skipped_of_images, features.device)
        return self.rest_sums

    def _rest(self) -> torch.Tensor:
        """The features of skipped pixels."""
        if self.rest is None:
            self.rest = self._features(self.layout.skipped)
        return self.rest

    def _complete(self, value: int) -> torch.Tensor:
        """A value's whole map, (B, C, H, W), with predictions at skipped pixels."""
        layout, scale = self.layout, self.program.scale(value)
        rows = self.values[value]
        channels = self.program.channels(value)
        whole = rows.new_empty(self.batch, layout.height * scale, layout.width * scale, channels)
        flat = whole.view(-1, channels)
        if layout.skipped_of_images.any():
            predicted = self.prediction.contexts[value].rows(self._rest())
            flat.index_copy_(0, layout.enlarged(layout.skipped, scale), predicted)
        layout.write(rows[:layout.rows(scale)], scale, flat)
        return whole.permute(0, 3, 1, 2)
