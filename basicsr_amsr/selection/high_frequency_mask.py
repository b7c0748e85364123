"""Where an image has high frequencies: AMSR's masks of pixels, patches and attention windows."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.options.argument_sections import check_arguments
from basicsr_amsr.options.section import Count, Decay, Number, Odd, Positive, PositiveNumber, Share
from basicsr_amsr.registry import SELECTION_REGISTRY
from basicsr_amsr.selection.high_frequency import high_frequency, luminance
from basicsr_amsr.selection.keep import top_keep
from basicsr_amsr.selection.neighbourhoods import (
    dilate,
    expand_patches,
    patch_any,
    patch_mean,
    patch_over,
    smooth,
    window_mask,
)
from basicsr_amsr.selection.noise_level import discount_noise, noise_level
from basicsr_amsr.selection.two_means import two_means

TINY = torch.finfo(torch.float32).tiny


@SELECTION_REGISTRY.register()
@dataclass(frozen=True)
class HighFrequencyMask:
    """LR images to masks of what is computed: the high-frequency map, cut by 2-means, by a fixed share or by a level.

    The steps: |Y − Gaussian(Y)|, noise discounted, smoothed, 2-means, dilated, whole patches or windows. `keep` and
    `level` take the patches (pixels, windows) with the largest mean of the smoothed map instead: as many in each image,
    or as many as are over one level for all images, few of a flat one. Every image of a batch has a mask of its own;
    that of a flat image is empty, unless `keep` decides.

    Args:
        keep: share of the patches (pixels where `patch_size` is 1) to take, exactly round(keep · n); ~: 2-means
            decides.
        level: take the patches whose mean is over this; Y is 0–1.
        relative: what a level is compared with is the patch's mean over the mean of all patches of its image to this
            power. 0: the mean as it is; 1: only where in its image it lies counts, not how detailed that is.
        power: exponent of the means over box and patch; 1: of the magnitude, 2: root of the mean square.
        sigma: standard deviation in LR pixels of the Gaussian that is taken off.
        size: odd side of its kernel.
        noise_discount: how much of the estimated noise's power is taken off the map: 0 none, 1 all of it.
        smooth: odd side of the box over which the map is averaged; 1 for none.
        dilation: pixels by which the mask of 2-means grows in every direction.
        patch_size: side of the patches; 1 for single pixels.
        threshold: a patch or window is taken if more than this share of its pixels is in the mask; 0: one is enough.

    Raises:
        UserError: a value that makes no sense, named.
    """

    keep: Share | None = None
    sigma: PositiveNumber = 1.0
    size: Odd = 5
    noise_discount: Number = 0.0
    smooth: Odd = 1
    dilation: Count = 0
    patch_size: Positive = 1
    threshold: Decay = 0.0
    level: Number | None = None
    relative: Share = 0.0
    power: PositiveNumber = 1.0

    def __post_init__(self) -> None:
        check_arguments(HighFrequencyMask, 'selection', **vars(self))
        if self.keep is not None and self.level is not None:
            raise UserError(f'selection: keep is {self.keep!r} and level {self.level!r}: give one of them.')
        for rule in ('keep', 'level'):
            for name in ('dilation', 'threshold'):
                if getattr(self, rule) is not None and getattr(self, name):
                    raise UserError(f'selection: {name} is {getattr(self, name)!r}, but {rule} decides alone: '
                                    f'leave out {name} or {rule}.')

    @property
    def by_two_means(self) -> bool:
        """Whether neither `keep` nor `level` decides."""
        return self.keep is None and self.level is None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Pixel mask, bool (B, 1, H, W), of RGB or gray images (B, 3 or 1, H, W) in 0–1; made of whole patches."""
        if self.patch_size == 1 and self.by_two_means:
            return self._mask(self.score(images))
        return expand_patches(self.patches(images), self.patch_size, *images.shape[-2:])

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """Active patches, bool (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉), from the upper left corner."""
        return self.clustered(self.score(images)) if self.by_two_means else self.taken(self.patch_means(images))

    def clustered(self, score: torch.Tensor) -> torch.Tensor:
        """The patches by 2-means of `score`."""
        mask = self._mask(score)
        return patch_over(mask, self.patch_size, self.threshold) if self.threshold else patch_any(mask, self.patch_size)

    def patch_means(self, images: torch.Tensor) -> torch.Tensor:
        """The mean of the smoothed map in each patch, (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉): what `keep` goes by."""
        return self._means(self.score(images), self.patch_size)

    def levels(self, images: torch.Tensor) -> torch.Tensor:
        """The detail of each patch, which `level` is compared with, (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉)."""
        return self._compared(self.patch_means(images))

    def windows(self, images: torch.Tensor, size: int, shifts: Sequence[int] = (0,)) -> list[torch.Tensor]:
        """Active attention windows for each cyclic shift, bool (B, H / size, W / size).

        Args:
            images: (B, 3 or 1, H, W), padded to multiples of `size` as the network pads them.
            size: side of a window in pixels; `patch_size` plays no part.
            shifts: those of the network's layers; Swin has 0 and size // 2. The map is computed once.

        Raises:
            UserError: H or W is no multiple of `size`.
        """
        height, width = images.shape[-2:]
        if height % size or width % size:
            raise UserError(f'images of {height}x{width} have no whole windows of {size}x{size}: pad them first.')
        score = self.score(images)
        if self.by_two_means:
            mask = self._mask(score)
            return [window_mask(mask, size, self.threshold, shift) for shift in shifts]
        rolled = (torch.roll(score, (-shift, -shift), dims=(2, 3)) for shift in shifts)
        return [self.taken(self._means(values, size)) for values in rolled]

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """The smoothed map of high frequencies that the mask is made from, (B, 1, H, W), 0 or more."""
        y = luminance(images)
        score = high_frequency(y, self.sigma, self.size)
        if self.noise_discount:
            score = discount_noise(score, noise_level(y.to(score.dtype)), self.sigma, self.size, self.noise_discount)
        return self._mean(score, lambda values: smooth(values, self.smooth)) if self.smooth > 1 else score

    def _mean(self, values: torch.Tensor, mean: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return mean(values) if self.power == 1 else mean(values**self.power)**(1 / self.power)

    def _means(self, score: torch.Tensor, size: int) -> torch.Tensor:
        return self._mean(score.float(), lambda values: patch_mean(values, size))

    def _compared(self, means: torch.Tensor) -> torch.Tensor:
        if not self.relative:
            return means
        whole = means.mean(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(means.dtype).tiny)
        return means / whole**self.relative

    def threshold_of(self, means: np.ndarray) -> float:
        """The threshold that `level` means for one image, given the means of its patches (rows, cols), float32."""
        assert self.level is not None
        if not self.relative:
            return self.level
        return self.level * max(float(np.add.reduce(means, None)) / means.size, TINY)**self.relative

    def taken(self, means: torch.Tensor) -> torch.Tensor:
        """The patches or windows that `keep` or `level` selects, bool, by their means (B, rows, cols)."""
        if self.keep is not None:
            return top_keep(means, self.keep)
        assert self.level is not None
        return self._compared(means) > self.level

    def _mask(self, score: torch.Tensor) -> torch.Tensor:
        mask = two_means(score.flatten(1)).high.view_as(score)
        return dilate(mask, self.dilation) if self.dilation else mask
