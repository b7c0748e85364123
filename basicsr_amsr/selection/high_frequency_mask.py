"""Where an image has high frequencies: AMSR's masks of pixels, tiles and attention windows."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import SELECTION_REGISTRY
from basicsr_amsr.selection.high_frequency import high_frequency, luminance
from basicsr_amsr.selection.noise import discount_noise, noise_level
from basicsr_amsr.selection.ratio import top_ratio
from basicsr_amsr.selection.regions import (
    block_any,
    block_means,
    block_over,
    dilate,
    expand_blocks,
    smooth,
    window_mask,
)
from basicsr_amsr.selection.two_means import two_means


@SELECTION_REGISTRY.register()
@dataclass(frozen=True)
class HighFrequencyMask:
    """LR images to masks of what is computed: the high-frequency map, cut by 2-means, at a ratio or at a level.

    The steps: |Y − Gaussian(Y)|, noise discounted, smoothed, 2-means, dilated, whole tiles or windows. `ratio` and
    `level` take the tiles (pixels, windows) with the largest mean of the smoothed map instead: as many in each image,
    or as many as are over one level for all images, few of a flat one. Every image of a batch has a mask of its own;
    that of a flat image is empty, unless a ratio decides.

    Args:
        ratio: share of the tiles (pixels where `tile` is 1) to take, exactly round(ratio · n); None: 2-means decides.
        level: take the tiles whose mean is over this; Y is 0–1.
        relative: what a level is compared with is the tile's mean over the mean of all tiles of its image to this
            power. 0: the mean as it is; 1: only where in its image it lies counts, not how detailed that is.
        power: exponent of the means over box and tile; 1: of the magnitude, 2: root of the mean square.
        sigma, size: standard deviation of the Gaussian in pixels, and odd side of its kernel.
        noise_discount: how much of the estimated noise's power is taken off the map: 0 none, 1 all of it.
        smooth: odd side of the box over which the map is averaged; 1 for none.
        dilation: pixels by which the mask of 2-means grows in every direction.
        tile: side of the tiles; 1 for single pixels.
        threshold: a tile or window is taken if more than this share of its pixels is in the mask; 0: one is enough.

    Raises:
        UserError: a value that makes no sense, named.
    """

    ratio: float | None = None
    sigma: float = 1.0
    size: int = 5
    noise_discount: float = 0.0
    smooth: int = 1
    dilation: int = 0
    tile: int = 1
    threshold: float = 0.0
    level: float | None = None
    relative: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        self._number('sigma', lambda v: 0 < v < float('inf'), 'a number over 0')
        self._number('noise_discount', lambda v: 0 <= v < float('inf'), '0 or more')
        self._number('threshold', lambda v: 0 <= v < 1, 'a share from 0, under 1')
        if self.ratio is not None:
            self._number('ratio', lambda v: 0 <= v <= 1, 'a share from 0 to 1, or ~ for 2-means')
        if self.level is not None:
            self._number('level', lambda v: 0 <= v < float('inf'), '0 or more, or ~ for none')
        self._number('relative', lambda v: 0 <= v <= 1, 'a number from 0 to 1')
        self._number('power', lambda v: 0 < v < float('inf'), 'a number over 0')
        for name in ('size', 'smooth'):
            self._number(name, lambda v: v >= 1 and v % 2 == 1, 'an odd number of pixels from 1', whole=True)
        self._number('dilation', lambda v: v >= 0, 'a number of pixels from 0', whole=True)
        self._number('tile', lambda v: v >= 1, 'a number of pixels from 1', whole=True)
        if self.ratio is not None and self.level is not None:
            raise UserError(f'selection: ratio is {self.ratio!r} and level {self.level!r}: give one of them.')
        for rule in ('ratio', 'level'):
            for name in ('dilation', 'threshold'):
                if getattr(self, rule) is not None and getattr(self, name):
                    raise UserError(f'selection: {name} is {getattr(self, name)!r}, but a fixed {rule} decides alone: '
                                    f'leave out {name} or {rule}.')

    def _number(self, name, valid, wanted, whole=False) -> None:
        value = getattr(self, name)
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not valid(value):
            raise UserError(f'selection: {name} is {value!r}: give {wanted}.')

    @property
    def by_two_means(self) -> bool:
        """Whether neither a ratio nor a level decides."""
        return self.ratio is None and self.level is None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Pixel mask, bool (B, 1, H, W), of RGB or gray images (B, 3 or 1, H, W) in 0–1; made of whole tiles."""
        if self.tile == 1 and self.by_two_means:
            return self._mask(self.score(images))
        return expand_blocks(self.tiles(images), self.tile, *images.shape[-2:])

    def tiles(self, images: torch.Tensor) -> torch.Tensor:
        """Active tiles, bool (B, ⌈H/tile⌉, ⌈W/tile⌉), from the upper left corner."""
        return self.clustered(self.score(images)) if self.by_two_means else self.taken(self.tile_means(images))

    def clustered(self, score: torch.Tensor) -> torch.Tensor:
        """The tiles by 2-means of `score`."""
        mask = self._mask(score)
        return block_over(mask, self.tile, self.threshold) if self.threshold else block_any(mask, self.tile)

    def tile_means(self, images: torch.Tensor) -> torch.Tensor:
        """The mean of the smoothed map in each tile, (B, ⌈H/tile⌉, ⌈W/tile⌉): what `ratio` goes by."""
        return self._means(self.score(images), self.tile)

    def levels(self, images: torch.Tensor) -> torch.Tensor:
        """What is compared with `level`, (B, ⌈H/tile⌉, ⌈W/tile⌉)."""
        return self._compared(self.tile_means(images))

    def windows(self, images: torch.Tensor, size: int, shifts: Sequence[int] = (0,)) -> list[torch.Tensor]:
        """Active attention windows for each cyclic shift, bool (B, H / size, W / size).

        Args:
            images: (B, 3 or 1, H, W), padded to multiples of `size` as the network pads them.
            size: side of a window in pixels; `tile` plays no part.
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
        """What the mask is made from, (B, 1, H, W), 0 or more."""
        y = luminance(images)
        score = high_frequency(y, self.sigma, self.size)
        if self.noise_discount:
            score = discount_noise(score, noise_level(y.to(score.dtype)), self.sigma, self.size, self.noise_discount)
        return self._mean(score, lambda values: smooth(values, self.smooth)) if self.smooth > 1 else score

    def _mean(self, values: torch.Tensor, mean: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return mean(values) if self.power == 1 else mean(values**self.power)**(1 / self.power)

    def _means(self, score: torch.Tensor, size: int) -> torch.Tensor:
        return self._mean(score.float(), lambda values: block_means(values, size))

    def _compared(self, means: torch.Tensor) -> torch.Tensor:
        if not self.relative:
            return means
        whole = means.mean(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(means.dtype).tiny)
        return means / whole**self.relative

    def taken(self, means: torch.Tensor) -> torch.Tensor:
        """The tiles (windows) by the ratio or level, of their means (B, rows, cols)."""
        if self.ratio is not None:
            return top_ratio(means, self.ratio)
        assert self.level is not None
        return self._compared(means) > self.level

    def _mask(self, score: torch.Tensor) -> torch.Tensor:
        mask = two_means(score.flatten(1)).high.view_as(score)
        return dilate(mask, self.dilation) if self.dilation else mask
