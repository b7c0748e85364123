"""Runs models on degraded images, and records PSNR and energy by band of spatial frequency."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.utils import bgr2ycbcr, tensor2img

from basicsr_amsr.data.bicubic import imresize
from basicsr_amsr.data.degradations.blur import Blur
from basicsr_amsr.psnr import published_psnr
from basicsr_amsr.sfm.conditions import Condition
from basicsr_amsr.sfm.spectrum import band_frequencies, band_power

INPUT, REFERENCE = 'input', 'ground truth'


def restore(models: Mapping[str, Any], conditions: Sequence[Condition], images: Mapping[str, torch.Tensor],
            bands: int = 100, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """What models restore of degraded images, averaged over them.

    PSNR is of 8-bit images: for super-resolution on Y of YCbCr, without a border of `scale` pixels; else of all
    channels and pixels.
    The power of a band is that of the luma on the 0–255 scale, as `band_power` says.

    Args:
        models: by name; BasicSR models of one scale.
        conditions: degradations, each of that scale.
        images: clean ones by name, (C, H, W) in 0–1, sizes multiples of the scale.
        bands: of spatial frequency.
        seed: with an image's number it decides the noise, the same for all models and levels.
        progress: is told what is done.

    Returns:
        `frequencies` (cycles per pixel), and `conditions`: for each `psnr` of every model and of the input (enlarged
        bicubically), `power` of 'ground truth', of the input just before downscaling and of each model, and `error`,
        the power of the difference between each of them and the ground truth.
    """
    references = {name: _luma(clean) for name, clean in images.items()}
    powers = {name: band_power(reference, bands) for name, reference in references.items()}
    results = []
    for condition in conditions:
        record = _Record()
        for number, (name, clean) in enumerate(images.items()):
            progress(f'{condition.name}, {name}')
            filtered, given = condition.degrade(clean, seed * 1_000_003 + number)
            reference = references[name]
            record.power(REFERENCE, powers[name])
            scale = clean.shape[-1] // given.shape[-1]
            seen = {INPUT: filtered, **{label: _output(model, given) for label, model in models.items()}}
            for label, image in seen.items():
                luma = _luma(image)
                record.power(label, band_power(luma, bands), band_power(luma - reference, bands))
                record.psnr(label, _psnr(_enlarged(given, scale) if label == INPUT else image, clean, scale))
        results.append({'name': condition.name, 'kind': condition.kind, 'level': condition.level,
                        'blurred': any(isinstance(step, Blur) for step in condition.before), **record.means()})
    return {'frequencies': band_frequencies(bands).tolist(), 'images': list(images), 'conditions': results}


class _Record:
    """Sums up the figures of images."""

    def __init__(self) -> None:
        self.powers: dict[str, list[torch.Tensor]] = {}
        self.errors: dict[str, list[torch.Tensor]] = {}
        self.psnrs: dict[str, list[float]] = {}

    def power(self, label: str, power: torch.Tensor, error: torch.Tensor | None = None) -> None:
        self.powers.setdefault(label, []).append(power)
        if error is not None:
            self.errors.setdefault(label, []).append(error)

    def psnr(self, label: str, value: float) -> None:
        self.psnrs.setdefault(label, []).append(value)

    def means(self) -> dict[str, Any]:
        def mean(stacks: Mapping[str, list[torch.Tensor]]) -> dict[str, list[float]]:
            return {label: torch.stack(values).nanmean(0).tolist() for label, values in stacks.items()}

        return {'psnr': {label: math.fsum(values) / len(values) for label, values in self.psnrs.items()},
                'power': mean(self.powers), 'error': mean(self.errors)}


def _output(model: Any, given: torch.Tensor) -> torch.Tensor:
    """(C, H, W) in 0–1, as BasicSR writes it to a file but not rounded."""
    model.feed_data({'lq': given[None]})
    model.test()
    return model.output[0].detach().float().cpu().clamp(0, 1)


def _luma(image: torch.Tensor) -> torch.Tensor:
    """(H, W) on the 0–255 scale: Y of BasicSR's YCbCr, or the one channel."""
    if len(image) == 1:
        return image[0] * 255
    bgr = image.numpy()[::-1].transpose(1, 2, 0)
    return torch.from_numpy(np.ascontiguousarray(bgr2ycbcr(np.ascontiguousarray(bgr), y_only=True))) * 255


def _enlarged(given: torch.Tensor, scale: int) -> torch.Tensor:
    if scale == 1:
        return given
    height, width = (side * scale for side in given.shape[1:])
    return torch.from_numpy(imresize(np.ascontiguousarray(given.permute(1, 2, 0)), (height, width))).permute(2, 0, 1)


def _psnr(image: torch.Tensor, clean: torch.Tensor, scale: int) -> float:
    return published_psnr(tensor2img(image), tensor2img(clean), scale if scale > 1 else 0, luma=scale > 1)
