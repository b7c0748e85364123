"""One level of high frequencies for many images: which share of their tiles lies over it."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch

from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

STEPS = 100  # between quantiles


def quantiles(selection: HighFrequencyMask, images: Iterable[torch.Tensor]) -> list[float]:
    """Of the levels of all tiles of LR images (B, C, H, W): the least, …, the largest, in steps of a hundredth."""
    levels = torch.cat([selection.levels(image).flatten() for image in images]).sort().values
    places = torch.linspace(0, len(levels) - 1, STEPS + 1, dtype=torch.float64).round().long()
    found: list[float] = levels[places.to(levels.device)].tolist()
    return found


def level_over(levels: Sequence[float], share: float) -> float:
    """The level that this share of the tiles is over, 0 to 1, between quantiles linearly."""
    place = (1 - share) * (len(levels) - 1)
    low = min(int(place), len(levels) - 2)
    return levels[low] + (place - low) * (levels[low + 1] - levels[low])


def at_share(selection: HighFrequencyMask, levels: Sequence[float], share: float) -> HighFrequencyMask:
    """A selection by the level that this share of the tiles is over, in place of its ratio or level."""
    return dataclasses.replace(selection, ratio=None, level=level_over(levels, share))
