"""A calibration that is fitted on the way, to the pictures of the folder itself, and kept for the next time."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from basicsr_amsr.amsr.accelerate import restore_
from basicsr_amsr.amsr.calibration.choose import Meter, Trial, calibrate
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.config import calibrated_selection
from basicsr_amsr.caches import cache_folder
from basicsr_amsr.errors import UserError
from basicsr_amsr.infer import picture, pixels
from basicsr_amsr.infer.find_network import Network, weights_key
from basicsr_amsr.weights.cards import SUFFIX

NEAREST = 50.0  # dB to the dense picture, on pictures that nothing was fitted to
KEEPS = (0.5, 0.75)  # of the patches, tried in turn
CROP, PICTURES = 128, 24  # pixels on a side, pictures to fit to, of which every third is held back to measure on
PASSES = 40  # of the whole network by native kernels that fit and measurement may take, crop for crop
SAVED = 0.3  # of the time, that a calibration is expected to save
REFUSED = '.none'


@dataclass(frozen=True)
class Estimate:
    """What a calibration would cost and save, in seconds.

    Attributes:
        dense: the folder with the whole network. fit: the calibration itself.
    """

    dense: float
    fit: float

    @property
    def pays(self) -> bool:
        """Whether the folder is long enough."""
        return self.fit < SAVED * self.dense

    def __str__(self) -> str:
        return f'{self.dense:.0f} s for the folder as it is, about {self.fit:.0f} s to fit a calibration'


def cache() -> Path:
    """The folder of the calibrations that were fitted on the way."""
    return cache_folder() / 'calibrations'


def kept(network: Network) -> Calibration | None:
    """The calibration that was fitted to these weights before."""
    file = cache() / f'{weights_key(network.net)}{SUFFIX}'
    try:
        return Calibration.load(file) if file.is_file() else None
    except UserError:  # of an earlier version, or damaged: it is fitted anew
        return None


def refused(network: Network) -> bool:
    """Whether an earlier fit came no nearer than `NEAREST`."""
    return (cache() / f'{weights_key(network.net)}{REFUSED}').is_file()


def estimate(run: Callable[[torch.Tensor], object], network: Network, sizes: Sequence[tuple[int, int]]) -> Estimate:
    """How long the pictures would take, and fitting a calibration, judged by the time of a crop.

    Args:
        run: the whole network, for (1, C, H, W). network: plain.
        sizes: heights and widths of the pictures to come.
    """
    crop = torch.rand(1, network.channels, CROP, CROP)
    run(crop)
    start = time.perf_counter()
    run(crop)
    seconds = time.perf_counter() - start
    area = sum(height * width for height, width in sizes)
    return Estimate(seconds * area / CROP**2, seconds * PASSES * PICTURES)


def fit_to(network: Network, files: Sequence[Path], told: Callable[[str], None]) -> Calibration | None:
    """A calibration fitted to crops of the pictures, or None where it is not near enough to the dense picture.

    Args:
        network: plain, on the CPU.
        files: pictures; as many as are wanted are taken from all over them.
        told: gets a line for each trial.
    """
    crops = list(_crops(files, network.channels))
    if len(crops) < 4:
        told('no calibration: fewer than four pictures of 32x32 and more can be read')
        return None
    held = crops[2::3]
    fitted = [crop for number, crop in enumerate(crops) if number % 3 != 2]
    meter = Meter(network.net, Trial(fitted, held, None, network.scale))
    file = cache() / weights_key(network.net)
    file.parent.mkdir(parents=True, exist_ok=True)
    for keep in KEEPS:
        try:
            found = calibrate(network.net, fitted, dataclasses.replace(calibrated_selection(), keep=keep))
            point = meter.measure(found)
        except UserError as error:
            told(f'no calibration: {error}')
            break
        finally:
            restore_(network.net)
        told(f'fitted to {len(fitted)} of the pictures, keep {keep:g}: {point.fidelity:.1f} dB to the dense picture '
             f'on {len(held)} others, {point.macs:.0%} of the MACs')
        if point.fidelity >= NEAREST:
            found.save(file.with_name(file.name + SUFFIX))
            return found
    file.with_name(file.name + REFUSED).touch()
    return None


def _crops(files: Sequence[Path], channels: int) -> list[torch.Tensor]:
    """The middles of pictures from all over a folder, (1, C, H, W); those that cannot be read are passed over."""
    found: list[torch.Tensor] = []
    places = np.unique(np.linspace(0, len(files) - 1, min(len(files), PICTURES)).round().astype(int))
    for place in places:
        try:
            colour = pixels.of_array(picture.read(files[place]).array).colour
        except UserError:
            continue
        top, left = ((side - min(side, CROP)) // 2 for side in colour.shape[-2:])
        crop = colour[..., top:top + CROP, left:left + CROP]
        if min(crop.shape[-2:]) >= 32:
            crop = crop.expand(-1, 3, -1, -1) if channels == 3 else crop.mean(1, keepdim=True)
            found.append(crop.contiguous())
    return found
