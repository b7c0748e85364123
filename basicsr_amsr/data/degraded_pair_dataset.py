"""Pairs from clean images alone, degraded on the fly by a list of transforms: for super-resolution and denoising."""
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment
from basicsr.utils import bgr2ycbcr, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field

from basicsr_amsr.data.bicubic_paired_image_dataset import BicubicOptions, BicubicPairedImageDataset
from basicsr_amsr.data.image_io import read_image, to_float
from basicsr_amsr.errors import UserError
from basicsr_amsr.options.section import Count, TransformOptions
from basicsr_amsr.transforms.base import Transform, drawn_generator, seeded_generator
from basicsr_amsr.transforms.build_transforms import build_transforms


class DegradedOptions(BicubicOptions):
    """Options of DegradedPairDataset."""

    degradations: list[TransformOptions] = Field([], description='transforms that make the degraded image, in order, '
                                                 '{type: a name of `basicsr list transform`, …}')
    seed: Count = Field(0, description='of the draws in validation and tests')


@DATASET_REGISTRY.register()
class DegradedPairDataset(BicubicPairedImageDataset):
    """Clean images, with degraded ones made from them by `degradations`, in that order.

    SR: `[{type: GaussianBlur, sigma: [0.2, 3]}, {type: Downscale, scale: 4}, {type: GaussianNoise, sigma: [0, 10]},
    {type: JPEG, quality: [60, 95]}]`. Denoising with SFM before the noise: `[{type: SFM, mode: targeted},
    {type: GaussianNoise, sigma: [0, 55], clip: false}]`.

    In phase 'train' a crop is drawn, and blur and downscaling see the image around it: they give what the crop of the
    wholly degraded image would be. All draws follow Python's `random`. In phases 'val' and 'test' the whole image is
    degraded, by draws that depend on `seed` and the image's index alone: equal in every run, on every machine's CPU.

    Args:
        opt: the options of one dataset: those of `DegradedOptions`. `color: y` degrades the luma; together the
            degradations have to shrink by `scale`.

    Items:
        lq (C, h, w), gt (C, h·scale, w·scale): float32, RGB or gray, 0–1 before mean and std (lq leaves 0–1 after
        noise that is not clipped); lq_path = gt_path (str).

    Raises:
        UserError: an option or a file cannot be used; one line names it.
    """

    option_schema = DegradedOptions
    options: DegradedOptions

    def __init__(self, opt: dict[str, Any]):
        super().__init__(opt)
        place = f'{self.key}:degradations'
        steps = build_transforms(self.options.degradations, place)
        self._check_scale(steps, place)
        self.seed = self.options.seed
        # Steps that look at neighbouring pixels come first, on the crop with its surroundings; the rest follow on it.
        near = max((index + 1 for index, step in enumerate(steps) if step.margin or step.scale > 1), default=0)
        self.first, self.last = steps[:near], steps[near:]
        self.margin = _margin(self.first)
        said = '; '.join(repr(step) for step in steps) or 'nothing'
        origin = ', '.join(str(folder) for folder in self.folders)
        self.lr_source = f'degraded on the fly ({said}; seed {self.seed}) from {origin}'

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        img = to_float(read_image(path, gray=self.color == 'gray', alpha=self.options.alpha))
        if self.color == 'y':
            img = bgr2ycbcr(img, y_only=True)[..., None]
        gt, lq = self._degraded_crop(img, path) if self.phase == 'train' else self._degraded_whole(img, path, index)
        return self._item(gt, lq, path)

    def _degraded_whole(self, img: np.ndarray, path: Path, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        gt = img2tensor(self._trimmed(img, path))
        state = np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0]
        return gt, _applied([*self.first, *self.last], gt, seeded_generator(int(state >> 1)))

    def _degraded_crop(self, img: np.ndarray, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
        top, left = self._draw_crop(img, path)
        generator = drawn_generator()
        height, width = (size // self.scale for size in img.shape[:2])
        side = self.gt_size // self.scale
        around = math.ceil(self.margin / self.scale)
        y0, x0 = max(top - around, 0), max(left - around, 0)
        y1, x1 = min(top + side + around, height), min(left + side + around, width)
        window = img[y0 * self.scale:y1 * self.scale, x0 * self.scale:x1 * self.scale]
        lq = _applied(self.first, img2tensor(window), generator)[:, top - y0:, left - x0:][:, :side, :side]
        # lq is RGB already, gt BGR as read: turning pixels round does not mind
        pair = [self._gt_crop(img, top, left), lq.numpy().transpose(1, 2, 0).copy()]
        gt, lq = augment(pair, self.options.use_hflip, self.options.use_rot)
        lq = _applied(self.last, torch.from_numpy(np.ascontiguousarray(lq.transpose(2, 0, 1))), generator)
        return img2tensor(gt), lq

    def _check_scale(self, steps: list[Transform], place: str) -> None:
        shrunk = math.prod(step.scale for step in steps)
        if shrunk != self.scale:
            raise UserError(f'{place}: they shrink by {shrunk}, but scale is {self.scale}; '
                            f'{{type: Downscale, scale: {self.scale}}} is needed.' if self.scale > 1 else
                            f'{place}: they shrink by {shrunk}, but scale is 1; take Downscale out or set scale.')


def _applied(steps: list[Transform], image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    for step in steps:
        image = step(image, generator)
    return image


def _margin(steps: list[Transform]) -> int:
    """How far the chain looks beyond a pixel, in pixels of its input."""
    margin, scale = 0, 1
    for step in steps:
        margin += step.margin * scale
        scale *= step.scale
    return margin
