"""Padding by reflection up to a multiple, for networks that take only certain sizes."""
from __future__ import annotations

import torch


def reflected(length: int, target: int, device: torch.device) -> torch.Tensor:
    """Indices 0 … length − 1, continued by reflection (without repeating the edge) to `target` indices."""
    period = max(2 * length - 2, 1)
    index = torch.arange(target, device=device) % period
    return torch.minimum(index, period - index) if length > 1 else index


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """(N, C, H, W) padded below and to the right, by reflection, to multiples of `multiple`.

    Unlike torch's reflection it also takes images smaller than the padding: it reflects again and again.
    """
    for dim in (2, 3):
        length = x.shape[dim]
        if length % multiple:
            target = length + -length % multiple
            x = x.index_select(dim, reflected(length, target, x.device))
    return x


def pad_to(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(N, C, H, W) padded below and to the right, by reflection, to height × width."""
    for dim, target in ((2, height), (3, width)):
        if x.shape[dim] != target:
            x = x.index_select(dim, reflected(x.shape[dim], target, x.device))
    return x


def cropped(image: torch.Tensor, x: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
    """The output of a network for `padded`, (…, H, W) at its scale, cut to the part that belongs to `x`."""
    scale = image.shape[-1] // padded.shape[-1]
    return image[..., :x.shape[-2] * scale, :x.shape[-1] * scale]
