"""Share of the pixels that AMSR's mask takes, on clean, noisy and JPEG-compressed LR images.

    python benchmarks/mask_ratio.py --images Set14/HR --scale 2 --noise-discount 0 1

For each setting: the mean share, and the mean intersection over union with the mask of the clean image (by the same
setting). Noise is white and Gaussian in R, G and B, the LR image is rounded to 8 bits after it.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def noisy(level: float) -> Callable[[np.ndarray], np.ndarray]:
    """Adds noise of that standard deviation (0–255), the same in every run."""
    def degrade(image: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, level, image.shape)
        return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)
    return degrade


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """Compresses and decompresses."""
    def degrade(image: np.ndarray) -> np.ndarray:
        return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return degrade


DEGRADATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'clean': lambda image: image, 'noise 10': noisy(10), 'noise 25': noisy(25),
    'JPEG 40': jpeg(40), 'JPEG 20': jpeg(20),
}


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union; 1 where both are empty."""
    union = (a | b).sum().item()
    return (a & b).sum().item() / union if union else 1.0


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='a folder of HR images')
    parser.add_argument('--scale', type=int, default=2)
    parser.add_argument('--noise-discount', type=float, nargs='+', default=[0.0, 1.0])
    parser.add_argument('--smooth', type=int, default=1)
    parser.add_argument('--tile', type=int, default=1)
    args = parser.parse_args(argv)
    low = [downscale(read_image(path), args.scale) for path in list_images(args.images)]
    table = Table('noise_discount', *DEGRADATIONS, title=f'share of the pixels, overlap with the clean mask; '
                  f'x{args.scale}, {len(low)} images')
    for strength in args.noise_discount:
        select = HighFrequencyMask(noise_discount=strength, smooth=args.smooth, tile=args.tile)
        cells, clean = [], []
        for name, degrade in DEGRADATIONS.items():
            masks = [select(torch.from_numpy(to_float(degrade(image))[..., ::-1].copy()).permute(2, 0, 1)[None])
                     for image in low]
            clean = masks if name == 'clean' else clean
            share = np.mean([mask.float().mean().item() for mask in masks])
            cells.append(f'{share:.3f}  {np.mean([overlap(a, b) for a, b in zip(masks, clean, strict=True)]):.2f}')
        table.add_row(f'{strength:g}', *cells)
    Console().print(table)


if __name__ == '__main__':
    main()
