"""Whole images in one tensor, from which the crops of a batch are taken in one operation."""
from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch


class Crop(NamedTuple):
    """A square of an image, in its pixels, and how it is turned: flipped first, then transposed.

    `times` gives the same place in an image of a larger scale.
    """

    image: int
    top: int
    left: int
    side: int
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False

    def times(self, scale: int) -> Crop:
        """The crop of an image that is `scale` times as large."""
        return self._replace(top=self.top * scale, left=self.left * scale, side=self.side * scale)


def draw_crop(rng: random.Random, image: int, size: tuple[int, int], side: int, hflip: bool, rotation: bool) -> Crop:
    """Draw a crop of an image of (height, width) = `size` as BasicSR's `paired_random_crop` and `augment` do.

    The order of draws is theirs: top, left, horizontal flip, vertical flip, transposition; nothing is drawn for a flip
    that is not asked for.
    """
    top, left = rng.randint(0, size[0] - side), rng.randint(0, size[1] - side)
    flip_x = hflip and rng.random() < 0.5
    flip_y = rotation and rng.random() < 0.5
    transpose = rotation and rng.random() < 0.5
    return Crop(image, top, left, side, flip_x, flip_y, transpose)


def kept_as(images: Sequence[torch.Tensor]) -> torch.dtype:
    """uint8 where all images are, else float32."""
    return torch.uint8 if all(image.dtype == torch.uint8 for image in images) else torch.float32


class ImageStore:
    """Images of any sizes with the same number of channels, pixel after pixel in one tensor.

    Args:
        images: (H, W, C) tensors on the CPU, uint8 or float32 (0–1); emptied on the way, to hold nothing twice.
        device: where to keep them.

    Attributes:
        pixels: (all pixels, C).
        sizes: (height, width) of each image.
    """

    def __init__(self, images: list[torch.Tensor], device: torch.device | str = 'cpu') -> None:
        self.sizes = [(image.shape[0], image.shape[1]) for image in images]
        self.starts = [0]
        for height, width in self.sizes:
            self.starts.append(self.starts[-1] + height * width)
        dtype = kept_as(images)
        self.pixels = torch.empty(self.starts.pop(), images[0].shape[2], dtype=dtype, device=device)
        for start in reversed(self.starts):
            image = images.pop()
            image = image if image.dtype == dtype else image.float().div_(255)
            self.pixels[start:start + image.shape[0] * image.shape[1]] = image.flatten(0, 1).to(device)
        # A number would be divided by as a factor 1/255 on CUDA, which rounds differently.
        self.full = torch.tensor(255.0, device=device)

    def crops(self, crops: Sequence[Crop]) -> torch.Tensor:
        """The crops, all of one side, as (B, C, side, side): float32, contiguous, uint8 divided by 255.

        Every turned crop is a walk through the pixels: from a first one, by one step for each row and one for each
        column. So a batch is one table of B × 3 numbers, and one indexing.
        """
        side = crops[0].side
        walks = torch.tensor([self._walk(crop) for crop in crops]).to(self.pixels.device, non_blocking=True)
        first, row, column = walks.T.reshape(3, -1, 1, 1)
        steps = torch.arange(side, device=self.pixels.device)
        index = first + row * steps[:, None] + column * steps
        taken = self.pixels.index_select(0, index.flatten()).view(len(crops), side, side, -1).permute(0, 3, 1, 2)
        values = taken.to(torch.float32, memory_format=torch.contiguous_format)
        return values.div_(self.full) if self.pixels.dtype == torch.uint8 else values

    def _walk(self, crop: Crop) -> tuple[int, int, int]:
        """First pixel, step from row to row, step from column to column."""
        width = self.sizes[crop.image][1]
        first, row, column = self.starts[crop.image] + crop.top * width + crop.left, width, 1
        if crop.flip_x:
            first, column = first + (crop.side - 1) * column, -column
        if crop.flip_y:
            first, row = first + (crop.side - 1) * row, -row
        return (first, column, row) if crop.transpose else (first, row, column)
