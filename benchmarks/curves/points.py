"""The forms of a network that a curve is made of."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.config import calibrated_selection
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from benchmarks.curves.fewer import without_units

# Patch and smoothing of the forms that have no calibration.
PLAIN = {'pixels': (1, 1), 'smoothed': (1, 5), 'patches': (8, 5)}
CALIBRATED = ('calibrated', 'one level')


class Point(NamedTuple):
    """A form at a share of active patches: of each image; `one level`: of those it was fitted to. `fewer units` has the
    number of units that are replaced."""

    form: str
    keep: float = 1.0
    patch_size: int = 1
    smooth: int = 1
    count: int = 0


def points(forms: Sequence[str], keeps: Sequence[float], patch_sizes: Sequence[int], smooth: int,
           fewer: Sequence[int], keeps_by_level: Sequence[float]) -> list[Point]:
    """All that are asked for."""
    found = [Point(form, keep, *PLAIN[form]) for form in forms if form in PLAIN for keep in keeps]
    if 'calibrated' in forms:
        found += [Point('calibrated', keep, patch_size, smooth) for patch_size in patch_sizes for keep in keeps]
    if 'one level' in forms:
        found += [Point('one level', keep, patch_size, calibrated_selection().smooth) for patch_size in patch_sizes
                  for keep in keeps_by_level]
    if 'fewer units' in forms:
        found += [Point('fewer units', count=count) for count in fewer]
    return found


def convert(net: nn.Module, point: Point, images: Sequence[torch.Tensor], cache: Path) -> nn.Module:
    """A plain network in the form of a point, in place.

    Args:
        net: the network.
        point: its form.
        images: LR images (1, C, H, W) to fit to.
        cache: a folder for calibrations, so that they are fitted once.
    """
    if point.form == 'fewer units':
        return without_units(net, point.count, images)
    by_level = point.form == 'one level'
    selection = dataclasses.replace(calibrated_selection() if by_level else HighFrequencyMask(), keep=point.keep,
                                    patch_size=point.patch_size, smooth=point.smooth)
    if point.form in CALIBRATED:
        file = cache / f'{"level_" if by_level else ""}{point.keep:g}_{point.patch_size}_{point.smooth}.amsr'
        if not file.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            calibrate(net, images, selection, by_level).save(file)
        accelerate_(net, AMSRConfig(calibration=Calibration.load(file), mode='sparse'))
    else:
        accelerate_(net, AMSRConfig(selection=selection, mode='sparse'))
    return net
