"""LR images to time on: real photographs, reduced, at the size that is timed.

    python -m benchmarks.timing_images --scale 4 --size 128x128 270x480 --calibration pretrained/CARN_M_x4.amsr --out lr

Every photograph, in landscape and reduced by the scale as MATLAB's bicubic does, gives one LR image of each size: its
centre, or, where it is smaller, a mosaic of whole reduced photographs that begins with it, in rows from left to right.
None is enlarged. In the order of the calibration's active share, OUT/SIZE gets the photograph at the median (median/),
that at the 90th percentile (p90/), and ten at even steps (ten/); the names are printed. OUT/reduced gets the reduced
photographs as they are.
"""
from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.bench.images import as_tensor
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, read_image
from basicsr_amsr.profiling.subject import parse_size
from basicsr_amsr.resources import resolve

SHARED = Path(os.environ.get('BASICSR_AMSR_SHARED', '../shared'))
DRAWN = ('3140d643a1f5', '4cd6910a0b7b', 'ef576c4ed599')  # of CLIC 2025's validation set: no photographs


def landscape(image: np.ndarray) -> np.ndarray:
    """The image (H, W, C), a quarter turned where it is higher than wide."""
    return np.rot90(image) if image.shape[0] > image.shape[1] else image


def filled(images: Sequence[np.ndarray], first: int, size: tuple[int, int]) -> np.ndarray:
    """The centre of the first image, or a mosaic from it on, (H, W, C)."""
    height, width = size
    image = images[first]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if min(top, left) >= 0:
        return image[top:top + height, left:left + width]
    found, row, number = np.empty((height, width, image.shape[2]), image.dtype), 0, first
    while row < height:
        pieces = []
        while sum(piece.shape[1] for piece in pieces) < width:
            pieces.append(images[number % len(images)])
            number += 1
        high = min(height - row, *(piece.shape[0] for piece in pieces), height)
        found[row:row + high] = np.hstack([piece[:high] for piece in pieces])[:, :width]
        row += high
    return found


def write(folder: Path, images: dict[str, np.ndarray]) -> None:
    """As PNG, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        cv2.imwrite(str(folder / f'{name}.png'), image)


def main(argv: Sequence[str] | None = None) -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--photos', type=Path, default=SHARED / 'data/train/clic2025_valid', metavar='DIR')
    parser.add_argument('--scale', type=int, default=4)
    parser.add_argument('--size', nargs='+', type=parse_size, default=[(128, 128), (270, 480)], metavar='HxW')
    parser.add_argument('--calibration', required=True, metavar='FILE', help='whose active patches are counted')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    args = parser.parse_args(argv)
    files = [path for path in list_images(args.photos) if not path.stem.startswith(DRAWN)]
    reduced = [landscape(downscale(image[:image.shape[0] // args.scale * args.scale,
                                         :image.shape[1] // args.scale * args.scale], args.scale))
               for image in map(read_image, files)]
    write(args.out / 'reduced', {path.stem[:12]: image for path, image in zip(files, reduced, strict=True)})
    selection = Calibration.load(resolve(args.calibration)).selection()
    for height, width in args.size:
        images = {path.stem[:12]: filled(reduced, number, (height, width)) for number, path in enumerate(files)}
        keep = {name: float(selection.patches(as_tensor(image.copy())).float().mean())
                for name, image in images.items()}
        order = sorted(keep, key=lambda name: keep[name])
        last = len(order) - 1
        groups = {'median': [order[round(0.5 * last)]], 'p90': [order[round(0.9 * last)]],
                  'ten': [order[round((step + 0.5) / 10 * last)] for step in range(10)]}
        for group, names in groups.items():
            write(args.out / f'{height}x{width}' / group, {name: images[name] for name in names})
            print(f'{height}x{width} {group}: ' + ', '.join(f'{name} {keep[name]:.1%}' for name in names))


if __name__ == '__main__':
    main()
