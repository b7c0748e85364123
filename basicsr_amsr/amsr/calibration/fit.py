"""Least squares for the predictions of skipped pixels: one dense pass over each image, then closed form."""
from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.torch_sparse.masked import run_dense
from basicsr_amsr.execution.torch_sparse.prediction import Affine, LightTail, Prediction, rectified
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.execution.torch_sparse.sparse_program import Program
from basicsr_amsr.selection.neighbourhoods import expand_patches

KERNEL = 5  # side of the light tail's view of the LR image
RIDGE = 1e-4  # of the features' mean square
EXCESS = 0.1  # of the squared error of a prediction, what a low rank may add


class Normal:
    """Normal equations of a linear fit, added up in double precision."""

    def __init__(self) -> None:
        self.gram: torch.Tensor | float = 0.0
        self.target: dict[int, torch.Tensor | float] = {}
        self.square: dict[int, float] = {}
        self.count = 0

    def features(self, rows: torch.Tensor) -> None:
        """Add samples (n, features)."""
        self.gram = self.gram + rows.T @ rows
        self.count += len(rows)

    def values(self, key: int, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Add what the samples should give, (n, channels)."""
        self.target[key] = self.target.get(key, 0.0) + rows.T @ values
        self.square[key] = self.square.get(key, 0.0) + float(values.square().sum())

    def solve(self, key: int, ridge: float) -> torch.Tensor:
        """The weights (channels, features); `ridge` is a share of each feature's mean square."""
        assert isinstance(self.gram, torch.Tensor)
        # The ridge is in units of each feature, so that their ranges play no part.
        size = self.gram.diagonal().clamp(min=1e-12).sqrt()
        scaled = self.gram / size / size[:, None]
        solved = torch.linalg.solve(scaled + ridge * torch.eye(len(size)).to(scaled), self.target[key] / size[:, None])
        return (solved / size[:, None]).T

    def narrowed(self, key: int, ridge: float, scale: int, excess: float) -> Affine:
        """The fit by a matrix of low rank, where that takes fewer multiplications (reduced-rank regression).

        The rank is the lowest whose squared error is at most 1 + `excess` times that of full rank. The last feature is
        the constant.
        """
        assert isinstance(self.gram, torch.Tensor)
        weights = self.solve(key, ridge)
        slopes, bias = weights[:, :-1], weights[:, -1]
        mean = self.gram[-1, :-1] / self.count
        spread = self.gram[:-1, :-1] - self.count * torch.outer(mean, mean)
        error = self.square[key] - 2 * (weights.T * self.target[key]).sum() + ((weights @ self.gram) * weights).sum()
        values, vectors = torch.linalg.eigh(slopes @ spread @ slopes.T)  # ascending
        lost = int((values.clamp(min=0).cumsum(0) <= excess * error).sum())
        rank = max(len(values) - lost, 1)
        if rank * sum(slopes.shape) >= slopes.numel():
            return _affine(weights, scale)
        kept = vectors[:, -rank:]
        narrow = kept.T @ slopes
        bias = bias + (slopes - kept @ narrow) @ mean
        return Affine(kept.float().contiguous(), bias.float(), scale, narrow.float().contiguous())

    def light_tail(self, width: int, channels: int, scale: int) -> LightTail:
        """The fit of value 0 by an anchor of `width` channels, a constant, and the `surroundings` of an image."""
        weights = self.solve(0, 1e-3 * RIDGE)
        kernels = weights[:, width + 1:].reshape(-1, channels, KERNEL, KERNEL).float().contiguous()
        return LightTail(kernels, _affine(weights[:, :width + 1], scale))


@torch.no_grad()
def fit(program: Program, net: nn.Module, images: Iterable[torch.Tensor],
        patches: Callable[[torch.Tensor], torch.Tensor], size: int, excess: float = EXCESS) -> Prediction:
    """Fit what skipped pixels get to what the dense network has there.

    Args:
        program, net: the network and its weights.
        images: LR images (1, C, H, W) in 0–1; no ground truth is needed.
        patches: gives the active patches, bool (1, ⌈H/size⌉, ⌈W/size⌉), of an image.
        size: side of the patches.
        excess: what a low rank may add to the squared error of a prediction, as a share of it; 0 for full rank.

    Raises:
        UserError: too few pixels were skipped.
    """
    inner, outer = Normal(), Normal()
    channels = 3
    for image in images:
        channels = image.shape[1]
        size_of = (1, *image.shape[2:])
        own = program if program.holds_for(size_of) else read_network(net, channels, size_of)
        number = dict(zip(own.contexts, program.contexts, strict=True))
        skipped = ~expand_patches(patches(image), size, *image.shape[-2:])[0, 0]
        rows: list[torch.Tensor] = []
        seen: set[int] = set()

        def samples(values: torch.Tensor, chosen: torch.Tensor = skipped) -> torch.Tensor:
            scale = values.shape[-1] // chosen.shape[-1]
            return F.pixel_unshuffle(values, scale)[0][:, chosen].T.double()

        def read(value: int, values: torch.Tensor, anchor: torch.Tensor, rows=rows, seen=seen,
                 samples=samples, number=number) -> torch.Tensor:
            if not rows:
                rows.append(with_one(rectified(samples(anchor))))
            if value not in seen:
                inner.values(number[value], rows[0], samples(values))
                seen.add(value)
            return values

        result, anchor = run_dense(own, net, image, read)
        inner.features(rows[0] if rows else with_one(rectified(samples(anchor))))
        whole = torch.cat([with_one(samples(anchor)), samples(surroundings(image))], 1)
        outer.features(whole)
        outer.values(0, whole, samples(result))
    if inner.count < 10 * len(inner.gram):  # type: ignore[arg-type]
        raise UserError(f'{inner.count} pixels of the images are skipped, too few to fit to: give more or larger '
                        'images, or a smaller keep.')
    contexts = {value: inner.narrowed(value, RIDGE, program.scale(value), excess) for value in program.contexts}
    if program.form(program.output) != 'rows':
        return Prediction(contexts, None)
    return Prediction(contexts, outer.light_tail(program.channels(program.anchor), channels,
                                                 program.scale(program.output)))


def surroundings(image: torch.Tensor) -> torch.Tensor:
    """For each pixel of an image (1, C, H, W) what the light tail sees of it, (1, C · KERNEL², H, W)."""
    return F.unfold(F.pad(image, (KERNEL // 2,) * 4, mode='replicate'), KERNEL).unflatten(2, image.shape[2:])


def with_one(rows: torch.Tensor) -> torch.Tensor:
    """The features and a constant one behind them."""
    return torch.cat([rows, torch.ones_like(rows[:, :1])], 1)


def _affine(weights: torch.Tensor, scale: int) -> Affine:
    return Affine(weights[:, :-1].float().contiguous(), weights[:, -1].float().contiguous(), scale)
