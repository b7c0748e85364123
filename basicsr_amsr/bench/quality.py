"""PSNR of what networks make of LR images that are made from HR ones."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import tensor2img

from basicsr_amsr.bench.images import as_tensor
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import centre_crop, read_image, to_float
from basicsr_amsr.psnr import published_psnr

Forward = Callable[[torch.Tensor], torch.Tensor]


def pair(path: Path, scale: int, channels: int = 3, crop: int | None = None) -> tuple[torch.Tensor, np.ndarray]:
    """The LR image of an HR file, (1, channels, h, w) in 0–1, and the HR image in 8 bit, of scale times its size.

    Args:
        path: the file.
        scale: of the network.
        channels: 3, or 1 for gray.
        crop: only the centre of at most so many HR pixels on each side.

    Raises:
        UserError: it cannot be read.
    """
    image = read_image(path, gray=channels == 1)
    if crop is not None:
        image = centre_crop(image, crop)
    image = image[:image.shape[0] // scale * scale, :image.shape[1] // scale * scale]
    return as_tensor(downscale(image, scale)), np.rint(255 * to_float(image)).astype(np.uint8)


def psnr(output: torch.Tensor, high: np.ndarray, scale: int) -> float:
    """PSNR in dB on Y (gray images as they are), with a border of `scale` pixels left out, in 8 bit."""
    image = tensor2img(output.float())
    return published_psnr(image.reshape(high.shape), high, scale)


@torch.no_grad()
def mean_psnr(networks: Mapping[str, Forward], files: Sequence[Path], scale: int, like: torch.Tensor,
              progress: Callable[[str], Any] = lambda stage: None) -> dict[str, float]:
    """Mean PSNR of each network over HR files, of which one at a time is in memory.

    Args:
        networks: functions of the LR image (1, C, h, w).
        files, scale: as in `pair`.
        like: a tensor (1, C, ·, ·) on the device and in the dtype of the networks.
        progress: called with a line before each image.
    """
    found: dict[str, list[float]] = {name: [] for name in networks}
    for number, path in enumerate(files, 1):
        progress(f'PSNR of {len(networks)} contenders, image {number} of {len(files)}')
        low, high = pair(path, scale, like.shape[1])
        low = low.to(like.device, like.dtype)
        for name, network in networks.items():
            found[name].append(psnr(network(low), high, scale))
    return {name: float(np.mean(values)) for name, values in found.items()}
