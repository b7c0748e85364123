"""A gradient for the mask through the selection of patches (the trainings without supervision of MGA's table 4)."""
from __future__ import annotations

import torch

from basicsr_amsr.mga.halo_patches import PatchIndex


def straight_through(mask: torch.Tensor, index: PatchIndex) -> torch.Tensor:
    """1 where a patch is chosen, 0 elsewhere, (N, 1, h, w), with a gradient as if it were the mask itself.

    The value is that of the hard selection, so that the network trains on the image that it will give; a soft blend
    would train on mixtures of both images that it never gives. The mask's mean per image is taken off in the gradient:
    raising all elements together changes no selection, so that elements compete for the K places.
    """
    hard = torch.zeros_like(mask)
    hard[index.batch, 0, index.row, index.col] = 1
    relative = mask - mask.mean((1, 2, 3), keepdim=True)
    return hard + (relative - relative.detach())


def blend(coarse: torch.Tensor, refined: torch.Tensor, gate: torch.Tensor, size: int) -> torch.Tensor:
    """coarse + gate · (refined − coarse), with one gate per size×size pixels; exact where a gate is 0 or 1.

    Args:
        coarse, refined: images (N, C, H, W).
        gate: (N, 1, ⌈H/size⌉, ⌈W/size⌉).
    """
    height, width = coarse.shape[-2:]
    weight = gate.repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :height, :width]
    return torch.lerp(coarse, refined, weight.to(coarse.dtype).expand_as(coarse))
