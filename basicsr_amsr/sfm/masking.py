"""Stochastic frequency masking as a transform of a network's training inputs (SFM, section 4)."""
from __future__ import annotations

from typing import Any

import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import TRANSFORM_REGISTRY
from basicsr_amsr.sfm.dct import dct2, idct2
from basicsr_amsr.sfm.masks import band_mask, central_bands, random_masks, targeted_bands
from basicsr_amsr.transforms.base import Generators, Transform, generator_on, number, uniform

MODES = ('random', 'central', 'targeted')  # modes 0, 1 and 2 of the authors' code


class StochasticFrequencyMasking(Transform):
    """SFM: DCT, some coefficients multiplied by 0, inverse DCT, for a share of the samples.

    Every sample has a mask of its own, the same for all its channels (as in the authors' code). Samples that are left
    alone come back bit by bit. Results are not clamped and may leave 0–1 a little.

    Args:
        mode: 'central' (1): the band between two uniform radii is dropped, for super-resolution.
            'targeted' (2): a band around `centre`, for denoising. 'random' (0): coefficients one by one.
        rate: share of the samples that are masked, each by a draw of its own.
        centre: middle of the targeted band, in fractions of r_max.
        sigma: how far the targeted band reaches, in fractions of r_max: |N(0, sigma)| to either side.
        keep: probability that the random mode keeps a coefficient.

    Raises:
        UserError: an option out of its range.
    """

    def __init__(self, mode: str | int = 'central', rate: float = 0.5, centre: float = 0.85, sigma: float = 0.15,
                 keep: float = 0.5):
        self.mode = _mode(mode)
        self.rate = number(rate, 'rate', 0, 1)
        self.centre = number(centre, 'centre', 0, 1)
        self.sigma = number(sigma, 'sigma', 0)
        self.keep = number(keep, 'keep', 0, 1)

    def __repr__(self) -> str:
        more = {'random': f', keep {self.keep:g}', 'targeted': f', {self.centre:g}/{self.sigma:g}'}
        return f'SFM {self.mode}{more.get(self.mode, "")}, rate {self.rate:g}'

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        """Mask the samples that the draw selects."""
        selected = [index for index, draw in enumerate(uniform((0, 1), generators).tolist()) if draw < self.rate]
        if not selected:
            return batch.clone()
        whole = len(selected) == len(batch)
        indices = torch.tensor(selected).to(batch.device, non_blocking=True)
        coefficients = dct2(batch if whole else batch[indices])
        coefficients *= self.draw_masks(batch, [generators[index] for index in selected])[:, None]
        masked = idct2(coefficients).to(batch.dtype)
        return masked if whole else batch.clone().index_copy_(0, indices, masked)

    def draw_masks(self, like: torch.Tensor, generators: Generators) -> torch.Tensor:
        """A mask per generator (B, H, W), True where a coefficient is kept, of the size and on the device of `like`."""
        height, width = like.shape[-2:]
        if self.mode == 'random':
            return random_masks(height, width, self.keep, [generator_on(like.device, one) for one in generators])
        bands = (central_bands(generators) if self.mode == 'central' else
                 targeted_bands(self.centre, self.sigma, generators))
        return band_mask(height, width, bands, like.device)


def _mode(mode: Any) -> str:
    if mode in MODES:
        return mode
    if isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode < len(MODES):
        return MODES[mode]
    raise UserError(f"mode is '{mode}'; it can be {', '.join(MODES)}.")


TRANSFORM_REGISTRY._do_register('SFM', StochasticFrequencyMasking)
