"""One threshold on the detail of patches for many images: the level that a given share of all their patches exceeds."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch

from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

STEPS = 100  # between quantiles


def quantiles(selection: HighFrequencyMask, images: Iterable[torch.Tensor]) -> list[float]:
    """Quantiles of the levels of all patches of LR images (B, C, H, W), from 0 to 1 in steps of a hundredth."""
    levels = torch.cat([selection.levels(image).flatten() for image in images]).sort().values
    places = torch.linspace(0, len(levels) - 1, STEPS + 1, dtype=torch.float64).round().long()
    found: list[float] = levels[places.to(levels.device)].tolist()
    return found


def level_over(levels: Sequence[float], keep: float) -> float:
    """The level that the share `keep` (0 to 1) of all patches exceeds, interpolated between quantiles."""
    place = (1 - keep) * (len(levels) - 1)
    low = min(int(place), len(levels) - 2)
    return levels[low] + (place - low) * (levels[low + 1] - levels[low])


def by_one_level(selection: HighFrequencyMask, levels: Sequence[float], keep: float) -> HighFrequencyMask:
    """The selection with `level` set so that the share `keep` of all patches exceeds it."""
    return dataclasses.replace(selection, keep=None, level=level_over(levels, keep))
