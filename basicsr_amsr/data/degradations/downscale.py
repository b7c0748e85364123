"""Downscaling by a whole factor within a chain of degradations."""
from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from basicsr_amsr.data.bicubic import imresize
from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import TRANSFORM_REGISTRY
from basicsr_amsr.transforms.base import Generators, Transform, choice, whole_number


@TRANSFORM_REGISTRY.register()
class Downscale(Transform):
    """Shrink by a whole factor.

    Args:
        scale: the factor; height and width have to be multiples of it.
        method: 'bicubic' as MATLAB resizes floating-point images (antialiased, not rounded), or 'subsample': every
            scale-th pixel from the first on, which needs a blur before.
    """

    def __init__(self, scale: int, method: str = 'bicubic'):
        self.scale = whole_number(scale, 'scale')
        self.method = choice(method, 'method', ('bicubic', 'subsample'))
        self.margin = 2 * self.scale if self.method == 'bicubic' else 0

    def __repr__(self) -> str:
        return f'{"MATLAB bicubic" if self.method == "bicubic" else "every pixel of"} x{self.scale}'

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        height, width = batch.shape[-2:]
        if height % self.scale or width % self.scale:
            raise UserError(f'Downscale: an image of {height}x{width} is no multiple of scale {self.scale}.')
        if self.method == 'subsample':
            return batch[..., ::self.scale, ::self.scale].clone()
        dtype = torch.promote_types(batch.dtype, torch.float32)
        rows, columns = (_bicubic_matrix(size, self.scale, batch.device, dtype) for size in (height, width))
        with torch.autocast(batch.device.type, enabled=False):
            return (rows @ batch.to(dtype) @ columns.T).to(batch.dtype)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _bicubic_matrix(size: int, scale: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(size / scale, size): a line of pixels to its bicubic half, third …, as `imresize` weighs them."""
    return torch.from_numpy(imresize(np.eye(size), (size // scale, size))).to(device, dtype)
