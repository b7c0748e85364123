"""Pictures as arrays and tensors: any number of channels and bits to colour and alpha in 0–1, and back."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from basicsr_amsr.errors import UserError

Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16 | np.floating]]


@dataclass(frozen=True)
class Pixels:
    """A picture as networks take it.

    Attributes:
        colour: (B, C, H, W), float32 in 0–1; gray where C is 1, RGB where it is 3.
        alpha: (B, 1, H, W), float32 in 0–1; None for opaque pictures.
    """

    colour: torch.Tensor
    alpha: torch.Tensor | None = None

    @classmethod
    def of_channels(cls, planes: torch.Tensor) -> Pixels:
        """The pixels of (B, C, H, W) in 0–1, gray, gray with alpha, RGB or RGBA.

        Raises:
            UserError: another shape, no pixel, or values that are not finite.
        """
        if planes.ndim != 4 or not 1 <= planes.shape[1] <= 4 or not planes.numel():
            raise UserError(f'{"x".join(map(str, planes.shape))} values (images, channels, rows, columns) are no '
                            'picture: give 1 to 4 channels (gray, RGB, alpha last) and at least one pixel.')
        planes = planes.float()
        if not planes.isfinite().all():
            raise UserError('the picture holds values that are not finite: give numbers from 0 to 1.')
        colours = planes.shape[1] - 1 + planes.shape[1] % 2  # 1, 1, 3, 3
        return cls(planes[:, :colours], planes[:, colours:] if planes.shape[1] > colours else None)

    def channels(self) -> torch.Tensor:
        """(B, C, H, W), as `of_channels` takes them."""
        return self.colour if self.alpha is None else torch.cat([self.colour, self.alpha], 1)


def of_tensor(tensor: torch.Tensor) -> Pixels:
    """The pixels of a tensor (C, H, W) or (B, C, H, W), floating point in 0–1 or uint8.

    Raises:
        UserError: another shape or number format.
    """
    if tensor.ndim not in (3, 4) or not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
        raise UserError(f'a tensor {tuple(tensor.shape)} of {tensor.dtype} is no picture: give (C, H, W) or '
                        '(B, C, H, W), uint8, or floating point from 0 to 1.')
    planes = tensor.detach() if tensor.ndim == 4 else tensor.detach()[None]
    return Pixels.of_channels(planes.float() / 255 if tensor.dtype == torch.uint8 else planes)


def to_tensor(pixels: Pixels, like: torch.Tensor) -> torch.Tensor:
    """The picture in the form of a tensor that `of_tensor` took."""
    planes = pixels.channels().clamp(0, 1)
    planes = planes.mul(255).round() if like.dtype == torch.uint8 else planes
    return (planes if like.ndim == 4 else planes[0]).to(like.device, like.dtype)


def of_array(array: Array) -> Pixels:
    """The pixels of an array (H, W) or (H, W, C) in RGB order: uint8, uint16, or floating point in 0–1.

    Raises:
        UserError: another shape or number format.
    """
    numbers = array.dtype in (np.uint8, np.uint16) or np.issubdtype(array.dtype, np.floating)
    if array.ndim not in (2, 3) or not numbers:
        raise UserError(f'an array {array.shape} of {array.dtype} is no picture: give (H, W) or (H, W, C), uint8, '
                        'uint16, or floating point from 0 to 1.')
    planes = array.astype(np.float32) / largest(array)
    planes = planes[..., None] if array.ndim == 2 else planes
    return Pixels.of_channels(torch.from_numpy(planes).permute(2, 0, 1)[None])


def to_array(pixels: Pixels, like: Array) -> Array:
    """The first picture in the form of an array that `of_array` took."""
    planes = pixels.channels()[0].permute(1, 2, 0).clamp(0, 1).cpu()
    planes = planes[..., 0] if like.ndim == 2 else planes
    if np.issubdtype(like.dtype, np.floating):
        return planes.numpy().astype(like.dtype)
    return planes.mul(largest(like)).round().numpy().astype(like.dtype)


def largest(array: Array) -> float:
    """The value of white: 255, 65535, or 1 in floating point."""
    return {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}.get(array.dtype, 1.0)
