"""Pairs for super-resolution from HR images alone: the LR images are made on the fly, as MATLAB makes them."""
from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from basicsr.data.transforms import augment
from basicsr.utils import bgr2ycbcr, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field, ValidationInfo, model_validator
from typing_extensions import Self

from basicsr_amsr import resources
from basicsr_amsr.data.bicubic import downscale, downscale_window
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.errors import UserError
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import File, Folders, Positive
from basicsr_amsr.options.sections import Dataset


class BicubicOptions(Dataset):
    """Options of BicubicPairedImageDataset."""

    dataroot_gt: Folders = Field(description="HR images; what is not there is looked for among the package's files")
    meta_info_file: File | None = Field(None, description='names in `dataroot_gt`, one a line; a trailing '
                                        '` (h,w,c)` is ignored; default: all images, sorted')
    recursive: bool = Field(False, description='look into subfolders')
    max_images: Positive | None = Field(None, description='only the first so many')
    gt_size: Positive | None = Field(None, description='side of a training crop in HR pixels, a multiple of the scale')
    use_hflip: bool = Field(False, description='flips, in training')
    use_rot: bool = Field(False, description='rotation by 90°, in training')
    color: Literal['y', 'gray'] | None = Field(None, description="y for the luma of BasicSR's YCbCr, gray to read the "
                                               'files as gray; default: RGB')
    alpha: Literal['refuse', 'drop'] = Field('refuse', description='what happens where pixels are transparent')
    mean: list[float] | None = Field(None, description='subtracted')
    std: list[float] | None = Field(None, description='divided by')

    @model_validator(mode='after')
    def _check_use(self, info: ValidationInfo) -> Self:
        if self.io_backend is not None and self.io_backend.type != 'disk':
            raise ValueError('io_backend: this data set reads image files: use {type: disk}.')
        if (info.context or {}).get('phase', self.phase) == 'train' and self.gt_size is None:
            raise ValueError("'gt_size' is missing: the side of a training crop in HR pixels, a multiple of the scale.")
        return self


@DATASET_REGISTRY.register()
class BicubicPairedImageDataset(torch.utils.data.Dataset):
    """HR images, cropped to a multiple of the scale, with their MATLAB bicubic LR images.

    The LR image is computed in the file's own integers (8 or 16 bits, rounded after each 1-D pass) from the whole HR
    image; a training crop is bit by bit the crop of that LR image. BasicSR's `PairedImageDataset` on stored LR files
    gives the same pairs.

    Args:
        opt: the options of one dataset: those of `BicubicOptions`.

    Items:
        lq (C, h, w), gt (C, h·scale, w·scale): float32, RGB, 0–1 before mean and std; lq_path = gt_path (str).

    Attributes:
        lr_source (str): how the LR images were made, for reports.

    Raises:
        UserError: an option or a file cannot be used; one line names it.
    """

    option_schema: ClassVar[type[BicubicOptions]] = BicubicOptions

    def __init__(self, opt: dict[str, Any]):
        super().__init__()
        self.opt = opt
        self.phase = opt['phase']
        self.key = f'datasets:{self.phase}'
        self.options = options = read(self.option_schema, opt, 'datasets', self.phase)
        self.scale, self.gt_size, self.color = options.scale or 1, options.gt_size or 0, options.color
        self.mean, self.std = options.mean, options.std
        self.folders = self._folders()
        self.paths = self._paths()
        origin = ', '.join(str(folder) for folder in self.folders)
        self.lr_source = (f'MATLAB bicubic x{self.scale}, made on the fly from {origin}' if self.scale > 1 else
                          f'the images themselves (scale 1), from {origin}')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        img = read_image(path, gray=self.color == 'gray', alpha=self.options.alpha)
        gt, lq = self._crop(img, path) if self.phase == 'train' else self._whole(img, path)
        gt, lq = to_float(gt), to_float(lq)
        if self.color == 'y':
            gt, lq = (bgr2ycbcr(array, y_only=True)[..., None] for array in (gt, lq))
        gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
        return self._item(gt, lq, path)

    def _item(self, gt: torch.Tensor, lq: torch.Tensor, path: Path) -> dict[str, Any]:
        if self.mean is not None or self.std is not None:
            from torchvision.transforms.functional import normalize  # brings torch.compile along: seconds

            gt, lq = (normalize(tensor, self.mean or [0.0], self.std or [1.0]) for tensor in (gt, lq))
        return {'lq': lq, 'gt': gt, 'lq_path': str(path), 'gt_path': str(path)}

    def _whole(self, img: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
        return self._trimmed(img, path), downscale(img, self.scale)

    def _crop(self, img: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
        top, left = self._draw_crop(img, path)
        side = self.gt_size // self.scale
        lq = downscale_window(img, top, left, side, side, self.scale)
        gt, lq = augment([self._gt_crop(img, top, left), lq], self.options.use_hflip, self.options.use_rot)
        return gt, lq

    def _trimmed(self, img: np.ndarray, path: Path) -> np.ndarray:
        """The image cropped at bottom and right to a multiple of the scale."""
        height, width = (size // self.scale * self.scale for size in img.shape[:2])
        if min(height, width) == 0:
            raise UserError(f"Image '{path}' is {img.shape[0]}x{img.shape[1]}, too small for scale {self.scale}.")
        return img[:height, :width]

    def _draw_crop(self, img: np.ndarray, path: Path) -> tuple[int, int]:
        """Top and left of a training crop, in LR pixels."""
        height, width = (size // self.scale for size in img.shape[:2])
        side = self.gt_size // self.scale
        if min(height, width) < side:
            raise UserError(f"Image '{path}' is {img.shape[0]}x{img.shape[1]}, smaller than gt_size {self.gt_size}; "
                            f'remove it or lower {self.key}:gt_size.')
        return random.randint(0, height - side), random.randint(0, width - side)

    def _gt_crop(self, img: np.ndarray, top: int, left: int) -> np.ndarray:
        """The HR crop at a place in LR pixels, contiguous, since augment() flips in place."""
        y, x = top * self.scale, left * self.scale
        return np.ascontiguousarray(img[y:y + self.gt_size, x:x + self.gt_size])

    def _folders(self) -> list[Path]:
        given = self.options.dataroot_gt
        folders = [resources.resolve(folder) for folder in ([given] if isinstance(given, str) else given)]
        for folder in folders:
            if not folder.exists():
                # A test has nothing to start: the demo is for training and the validation within it.
                demo = ', or start with bundled photographs: add --demo' if self.phase != 'test' else ''
                raise UserError(f'{folder} is not there. Point {self.key}:dataroot_gt at a folder of images{demo}.')
        return folders

    def _paths(self) -> list[Path]:
        if self.options.meta_info_file:
            paths = self._listed(resources.resolve(self.options.meta_info_file))
        else:
            paths = [path for folder in self.folders for path in list_images(folder, self.options.recursive)]
        return paths[:self.options.max_images]

    def _listed(self, meta_info_file: Path) -> list[Path]:
        try:
            lines = meta_info_file.read_text(encoding='utf-8').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.key}:meta_info_file: cannot read '{meta_info_file}' as text.") from error
        paths = []
        for name in (re.sub(r'\s+\([\d, ]+\)\s*$', '', line).strip() for line in lines):
            if not name:
                continue
            path = next((folder / name for folder in self.folders if (folder / name).is_file()), None)
            if path is None:
                folders = ', '.join(str(folder) for folder in self.folders)
                raise UserError(f"'{name}', named in {meta_info_file}, is not in {folders}.")
            paths.append(path)
        if not paths:
            raise UserError(f"{self.key}:meta_info_file: '{meta_info_file}' names no image.")
        return paths
