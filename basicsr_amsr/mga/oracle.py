"""True errors, by which a perfect selection would go: for analysis only, since they need everything refined."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from basicsr.utils.color_util import rgb2ycbcr_pt

from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.mask import error_target

ORACLES = ('oracle', 'best')


def true_error(order: str, coarse: torch.Tensor, refined: torch.Tensor, target: torch.Tensor | None, scale: int,
               patch_size: int) -> torch.Tensor:
    """What the orders 'oracle' (|coarse − refined|, a perfect mask) and 'best' (the gain against `target`) go by.

    Returns:
        (N, 1, ⌈H/p⌉, ⌈W/p⌉).

    Raises:
        UserError: 'best' without a ground truth.
    """
    if order == 'oracle':
        return error_target(coarse, refined, scale, patch_size, normalize=False)
    if target is None:
        raise UserError("network_g: order 'best' needs the ground truth: test on images that have one, or take order "
                        "'oracle'.")
    return gain_of_refining(coarse, refined, target, scale, patch_size)


def gain_of_refining(coarse: torch.Tensor, refined: torch.Tensor, target: torch.Tensor, scale: int,
                     patch_size: int) -> torch.Tensor:
    """The squared error on the luminance that refining a patch would remove.

    Patches do not overlap, so the K patches of largest gain are those that give the image's highest PSNR.

    Args:
        coarse, refined, target: RGB images (N, 3, s·H, s·W) in 0–1; `target` is the ground truth.
        scale: s.
        patch_size: p, in LR pixels.

    Returns:
        (N, 1, ⌈H/p⌉, ⌈W/p⌉), the sum over the patch's pixels inside the image; negative where refining does harm.
    """
    luminance = [rgb2ycbcr_pt(image, y_only=True) for image in (coarse, refined, target)]
    gain = (luminance[0] - luminance[2])**2 - (luminance[1] - luminance[2])**2
    return F.avg_pool2d(gain, scale * patch_size, ceil_mode=True, divisor_override=1)
