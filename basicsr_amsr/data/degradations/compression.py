"""JPEG by OpenCV's encoder, equal to BasicSR's `add_jpg_compression`.

BasicSR hands floating-point pixels to OpenCV, which writes a warning to stderr and rounds them; here they are rounded.
"""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import TRANSFORM_REGISTRY
from basicsr_amsr.transforms.base import Generators, Transform, number_range, shown, uniform


@TRANSFORM_REGISTRY.register()
class JPEG(Transform):
    """JPEG compression of one image after the other on the CPU; gray images stay gray. The result has 8 bits.

    Args:
        quality: 1 to 100, or [low, high]: whole numbers, uniform per sample.
    """

    def __init__(self, quality: float | Sequence[float]):
        self.quality = number_range(quality, 'quality', 1, 100)
        if any(bound != int(bound) for bound in self.quality):
            raise UserError(f"quality is '{quality}'; it must be whole numbers.")

    def __repr__(self) -> str:
        return f'JPEG {shown(self.quality)}'

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        low, high = self.quality
        qualities = uniform((low, high + 1) if low < high else self.quality, generators)
        images = [_compress(image, min(int(quality), int(high)))
                  for image, quality in zip(batch.detach().float().cpu(), qualities.tolist(), strict=True)]
        return torch.stack(images).to(batch.device, batch.dtype)


def _compress(image: torch.Tensor, quality: int) -> torch.Tensor:
    """One image (C, H, W), RGB or gray, through OpenCV's BGR."""
    if len(image) not in (1, 3):
        raise UserError(f'JPEG takes images of 1 or 3 channels, not {len(image)}.')
    pixels = (image.clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)[..., ::-1]
    encoded = cv2.imencode('.jpg', np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)).reshape(pixels.shape)[..., ::-1]
    return torch.from_numpy(decoded.transpose(2, 0, 1).copy()).float() / 255
