"""Pairs for super-resolution from HR images alone: the LR images are made on the fly, as MATLAB makes them."""
from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment
from basicsr.utils import bgr2ycbcr, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torchvision.transforms.functional import normalize

from basicsr_amsr import resources
from basicsr_amsr.data.bicubic import downscale, downscale_window
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.errors import UserError, suggestion

OWN_KEYS = {'dataroot_gt', 'meta_info_file', 'recursive', 'max_images', 'gt_size', 'use_hflip', 'use_rot', 'color',
            'alpha', 'mean', 'std'}
# What BasicSR itself adds to the options of a dataset or reads from them.
BASICSR_KEYS = {'name', 'type', 'phase', 'scale', 'io_backend', 'dataset_enlarge_ratio', 'batch_size_per_gpu',
                'num_worker_per_gpu', 'memory', 'use_shuffle', 'prefetch_mode', 'num_prefetch_queue', 'pin_memory',
                'persistent_workers'}


@DATASET_REGISTRY.register()
class BicubicPairedImageDataset(torch.utils.data.Dataset):
    """HR images, cropped to a multiple of the scale, with their MATLAB bicubic LR images.

    The LR image is computed in the file's own integers (8 or 16 bits, rounded after each 1-D pass) from the whole HR
    image; a training crop is bit by bit the crop of that LR image. BasicSR's `PairedImageDataset` on stored LR files
    gives the same pairs.

    Args:
        opt: the options of one dataset, with BasicSR's names:

            - dataroot_gt (str or list of str): folder(s) of HR images. A path that is not there is looked for among
              the files that come with this package.
            - meta_info_file (str): names in `dataroot_gt`, one a line; a trailing ' (h,w,c)' is ignored.
              Default: all images of the folder(s), sorted.
            - recursive (bool): look into subfolders. Default: False.
            - max_images (int): only the first so many.
            - scale (int), phase ('train', 'val' or 'test'), name: from BasicSR. At scale 1, LR and HR are equal.
            - gt_size (int): side of a training crop in HR pixels, a multiple of the scale. Needed in phase 'train'.
            - use_hflip, use_rot (bool): flips, rotation by 90°. Default: False.
            - color: 'y' for the luma of BasicSR's YCbCr, 'gray' to read the files as gray. Default: RGB.
            - alpha: 'refuse' (default) or 'drop' an alpha channel that is not opaque.
            - mean, std (list of float): subtracted, divided by.

    Items:
        lq (C, h, w), gt (C, h·scale, w·scale): float32, RGB, 0–1 before mean and std; lq_path = gt_path (str).

    Attributes:
        lr_source (str): how the LR images were made, for reports.

    Raises:
        UserError: an option or a file cannot be used; one line names it.
    """

    own_keys = OWN_KEYS

    def __init__(self, opt: dict[str, Any]):
        super().__init__()
        self.opt = opt
        self.phase = opt['phase']
        self.key = f'datasets:{self.phase}'
        self._check_options()
        self.scale = int(opt.get('scale', 1))
        self.gt_size: int = opt.get('gt_size') or 0
        self.color = opt.get('color')
        self.mean, self.std = opt.get('mean'), opt.get('std')
        self.folders = self._folders()
        self.paths = self._paths()
        origin = ', '.join(str(folder) for folder in self.folders)
        self.lr_source = (f'MATLAB bicubic x{self.scale}, made on the fly from {origin}' if self.scale > 1 else
                          f'the images themselves (scale 1), from {origin}')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        img = read_image(path, gray=self.color == 'gray', alpha=self.opt.get('alpha') or 'refuse')
        gt, lq = self._crop(img, path) if self.phase == 'train' else self._whole(img, path)
        gt, lq = to_float(gt), to_float(lq)
        if self.color == 'y':
            gt, lq = (bgr2ycbcr(array, y_only=True)[..., None] for array in (gt, lq))
        gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
        if self.mean is not None or self.std is not None:
            for tensor in (gt, lq):
                normalize(tensor, self.mean or [0.0], self.std or [1.0], inplace=True)
        return {'lq': lq, 'gt': gt, 'lq_path': str(path), 'gt_path': str(path)}

    def _whole(self, img: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
        height, width = (size // self.scale * self.scale for size in img.shape[:2])
        if min(height, width) == 0:
            raise UserError(f"Image '{path}' is {img.shape[0]}x{img.shape[1]}, too small for scale {self.scale}.")
        return img[:height, :width], downscale(img, self.scale)

    def _crop(self, img: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
        height, width = (size // self.scale for size in img.shape[:2])
        side = self.gt_size // self.scale
        if min(height, width) < side:
            raise UserError(f"Image '{path}' is {img.shape[0]}x{img.shape[1]}, smaller than gt_size {self.gt_size}; "
                            f'remove it or lower {self.key}:gt_size.')
        top, left = random.randint(0, height - side), random.randint(0, width - side)
        lq = downscale_window(img, top, left, side, side, self.scale)
        y, x = top * self.scale, left * self.scale
        gt = np.ascontiguousarray(img[y:y + self.gt_size, x:x + self.gt_size])  # augment() flips in place
        gt, lq = augment([gt, lq], self.opt.get('use_hflip', False), self.opt.get('use_rot', False))
        return gt, lq

    def _check_options(self) -> None:
        opt, key = self.opt, self.key
        for name in opt:
            if name not in self.own_keys | BASICSR_KEYS:
                raise UserError(f'{key}: {type(self).__name__} has no option {name}. '
                                f'{suggestion(name, self.own_keys)}')
        if (opt.get('io_backend') or {}).get('type', 'disk') != 'disk':
            raise UserError(f'{key}:io_backend: {type(self).__name__} reads image files; use type: disk.')
        choices = {'phase': ('train', 'val', 'test'), 'color': (None, 'y', 'gray'), 'alpha': (None, 'refuse', 'drop')}
        for name, allowed in choices.items():
            if opt.get(name) not in allowed:
                names = ', '.join(str(choice) for choice in allowed if choice)
                raise UserError(f"{key}:{name} is '{opt[name]}'; it can be {names}.")
        for name in ('scale', 'gt_size', 'max_images'):
            value = opt.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UserError(f"{key}:{name} is '{value}'; it must be a whole number of 1 or more.")
        if self.phase == 'train':
            if opt.get('gt_size') is None:
                raise UserError(f'{key}:gt_size is missing; set the side of a training crop in HR pixels.')
            if opt['gt_size'] % opt.get('scale', 1):
                raise UserError(f"{key}:gt_size {opt['gt_size']} is no multiple of scale {opt['scale']}.")

    def _folders(self) -> list[Path]:
        given = self.opt.get('dataroot_gt')
        given = [given] if isinstance(given, (str, Path)) else given
        if not given:
            raise UserError(f'{self.key}:dataroot_gt is missing; point it at a folder of images.')
        folders = [resources.resolve(folder) for folder in given]
        for folder in folders:
            if not folder.exists():
                # A test has nothing to start: the demo is for training and the validation within it.
                demo = ', or start with bundled photographs: add --demo' if self.phase != 'test' else ''
                raise UserError(f'{folder} is not there. Point {self.key}:dataroot_gt at a folder of images{demo}.')
        return folders

    def _paths(self) -> list[Path]:
        if self.opt.get('meta_info_file'):
            paths = self._listed(resources.resolve(self.opt['meta_info_file']))
        else:
            recursive = self.opt.get('recursive', False)
            paths = [path for folder in self.folders for path in list_images(folder, recursive)]
        return paths[:self.opt.get('max_images')]

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
