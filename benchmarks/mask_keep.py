"""Share of the pixels that AMSR's mask takes, on clean, noisy and JPEG-compressed LR images.

    python -m benchmarks.mask_keep --images Set14/HR --scale 2 --noise-discount 0 1
    python -m benchmarks.mask_keep --images Set14/HR --weights RFDN_x4 --fit cid22_512 --patch-size 8 --smooth 5 \
        --threshold 0.5

For each setting: the mean share, and the mean intersection over union with the mask of the clean image (by the same
setting). With weights also what the network, calibrated on the clean images of --fit, loses against the dense one on
the same input: PSNR in dB on Y against HR, and in brackets PSNR against the dense network's image. Noise is white and
Gaussian in R, G and B, the LR image is rounded to 8 bits after it.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from basicsr_amsr import load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

from basicsr.metrics import calculate_psnr  # isort: skip  # after basicsr_amsr, which mends it
from basicsr.utils import tensor2img  # isort: skip


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


def crop(image: np.ndarray, scale: int) -> np.ndarray:
    """The image without the rows and columns that are over a multiple of the scale."""
    return image[:image.shape[0] // scale * scale, :image.shape[1] // scale * scale]


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union; 1 where both are empty."""
    union = (a | b).sum().item()
    return (a & b).sum().item() / union if union else 1.0


def tensor(image: np.ndarray) -> torch.Tensor:
    """An 8-bit BGR image as (1, 3, H, W), RGB in 0–1."""
    return torch.from_numpy(to_float(image)[..., ::-1].copy()).permute(2, 0, 1)[None]


def losses(net: torch.nn.Module, calibration: Calibration, low: Sequence[np.ndarray],
           high: Sequence[np.ndarray], scale: int) -> tuple[float, float]:
    """Mean PSNR against HR less the dense network's, and mean PSNR against its image."""
    rows = []
    for small, truth in zip(low, high, strict=True):
        images = []
        for config in (None, AMSRConfig(calibration=calibration, mode='sparse')):
            if config:
                accelerate_(net, config)
            with torch.no_grad():
                images.append(tensor2img(net(tensor(small))))
            restore_(net)
        dense, sparse = (calculate_psnr(image, truth, crop_border=scale, test_y_channel=True) for image in images)
        rows.append((sparse - dense, calculate_psnr(*images, crop_border=scale, test_y_channel=True)))
    return float(np.mean([row[0] for row in rows])), float(np.mean([row[1] for row in rows]))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='a folder of HR images')
    parser.add_argument('--scale', type=int, default=2)
    parser.add_argument('--noise-discount', type=float, nargs='+', default=[0.0, 1.0])
    parser.add_argument('--smooth', type=int, default=1)
    parser.add_argument('--patch-size', type=int, default=1)
    parser.add_argument('--threshold', type=float, default=0.0)
    parser.add_argument('--first', type=int, help='only so many images')
    parser.add_argument('--weights', help='of load_pretrained; its scale is taken')
    parser.add_argument('--fit', help='a folder of HR images to calibrate on')
    args = parser.parse_args(argv)
    net = load_pretrained(args.weights) if args.weights else None
    scale = args.scale
    if net is not None:
        with torch.no_grad():
            scale = net(torch.zeros(1, 3, 8, 8)).shape[-1] // 8
    high = [crop(read_image(path), scale) for path in list_images(args.images)[:args.first]]
    low = [downscale(image, scale) for image in high]
    fitted = [tensor(downscale(crop(read_image(path), scale), scale)) for path in list_images(args.fit)[:24]
              ] if net is not None else []
    table = Table('noise_discount', *DEGRADATIONS, title=f'share of the pixels, overlap with the clean mask; '
                  f'x{scale}, {len(low)} images')
    for strength in args.noise_discount:
        select = HighFrequencyMask(noise_discount=strength, smooth=args.smooth, patch_size=args.patch_size,
                                   threshold=args.threshold)
        calibration = calibrate(net, fitted, select, one_level=False) if net is not None else None
        cells, clean = [], []
        for name, degrade in DEGRADATIONS.items():
            worse = [degrade(image) for image in low]
            masks = [select(tensor(image)) for image in worse]
            clean = masks if name == 'clean' else clean
            keep = np.mean([mask.float().mean().item() for mask in masks])
            cell = f'{keep:.3f}  {np.mean([overlap(a, b) for a, b in zip(masks, clean, strict=True)]):.2f}'
            if net is not None and calibration is not None:
                loss, fidelity = losses(net, calibration, worse, high, scale)
                cell += f'  {loss:+.3f} ({fidelity:.1f})'
            cells.append(cell)
        table.add_row(f'{strength:g}', *cells)
    Console(width=150).print(table)


if __name__ == '__main__':
    main()
