"""LR images of the measured sizes: crops of real ones, or noise."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor

from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import image_size, list_images, read_image, to_float
from basicsr_amsr.errors import UserError
from basicsr_amsr.resources import resolve

Size = tuple[int, int]


@dataclass(frozen=True)
class Images:
    """Where masks come from.

    Args:
        folder: of images; None for noise.
        most: crops for each size, of the first images, by name, that are large enough.
        high: the images are HR ones, of which LR ones are made as MATLAB does.
    """

    folder: str | None = None
    most: int = 3
    high: bool = False

    @property
    def source(self) -> str:
        """What the masks are of, in words."""
        if self.folder is None:
            return 'noise'
        return f'bicubic LR images of {self.folder}' if self.high else self.folder

    def check(self, size: Size, scale: int) -> None:
        """Raise a UserError where no image is that large."""
        if self.folder is not None:
            self.files(size, scale)

    def files(self, size: Size, scale: int) -> list[Path]:
        """The images that are used for a size.

        Raises:
            UserError: the folder holds none that is large enough.
        """
        factor = scale if self.high else 1
        sizes = {path: sides_of(path) for path in list_images(resolve(str(self.folder)))}
        wanted = (size[0] * factor, size[1] * factor)
        found = [path for path, sides in sizes.items() if sides[0] >= wanted[0] and sides[1] >= wanted[1]]
        if not found:
            path, sides = max(sizes.items(), key=lambda item: min(item[1][0] / wanted[0], item[1][1] / wanted[1]))
            needed = f'{wanted[0]}x{wanted[1]}' + (' HR' if factor > 1 else '')
            raise UserError(f'--size {size[0]}x{size[1]}: no image of {self.folder} is {needed} or larger '
                            f'({path.name} is {sides[0]}x{sides[1]}): give larger images or a smaller size.')
        return found[:self.most]

    def crops(self, size: Size, channels: int, scale: int) -> list[tuple[str, torch.Tensor]]:
        """Name and centre, (1, channels, *size) in 0–1, of each image for a size.

        Raises:
            UserError: an image cannot be read, or none is large enough.
        """
        if self.folder is None:
            generator = torch.Generator().manual_seed(0)
            return [('noise', torch.rand(1, channels, *size, generator=generator))]
        return [(path.name, centre(low_resolution(path, channels, scale if self.high else 1), size))
                for path in self.files(size, scale)]


def sides_of(path: Path) -> Size:
    """Height and width."""
    height, width = image_size(path) or read_image(path).shape[:2]
    return height, width


def low_resolution(path: Path, channels: int, scale: int) -> torch.Tensor:
    """The image made smaller by `scale`, (1, channels, H, W) in 0–1."""
    image = read_image(path, gray=channels == 1)
    return as_tensor(downscale(image, scale) if scale > 1 else image)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """An image as it is read, as (1, C, H, W) in 0–1, RGB or gray."""
    return img2tensor(to_float(image), bgr2rgb=image.shape[2] == 3)[None]


def centre(x: torch.Tensor, size: Size) -> torch.Tensor:
    """The middle of (1, C, H, W)."""
    top, left = (x.shape[2] - size[0]) // 2, (x.shape[3] - size[1]) // 2
    return x[:, :, top:top + size[0], left:left + size[1]].contiguous()
