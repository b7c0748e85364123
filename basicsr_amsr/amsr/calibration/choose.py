"""Calibrates a network, measures what it loses, and finds the smallest share of tiles that keeps a wanted quality."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_, restore_
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.fit import fit
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.counter import ConvolutionCounter
from basicsr_amsr.execution.region.reading import read_network
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.level import at_share, quantiles

from basicsr.metrics import calculate_psnr  # isort: skip  # after basicsr_amsr, which mends it
from basicsr.utils import tensor2img  # isort: skip

RATIOS = tuple(round(0.95 - 0.05 * step, 2) for step in range(18))  # 0.95 … 0.10


class Point(NamedTuple):
    """What a calibrated network gives on images that it was not fitted to.

    Attributes:
        ratio: share of active tiles.
        macs: share of the dense network's.
        fidelity: PSNR in dB against the dense network's image.
        loss: PSNR in dB that the dense network has more, against ground truth; None where there is none.
    """

    ratio: float
    macs: float
    fidelity: float
    loss: float | None


@dataclass(frozen=True)
class Trial:
    """Images for choosing.

    Attributes:
        fitted: LR images (1, C, H, W) to fit to.
        held: LR images to measure on.
        truth: what the network should give for them, where that is known.
        scale: of the network; border that PSNR leaves out.
    """

    fitted: Sequence[torch.Tensor]
    held: Sequence[torch.Tensor]
    truth: Sequence[Any] | None
    scale: int


def calibrate(net: nn.Module, selection: HighFrequencyMask, images: Sequence[torch.Tensor],
              one_level: bool = False) -> Calibration:
    """Fit a plain network, on the device where it is; it is left as it was.

    Args:
        net: the network.
        selection: where it will compute.
        images: unlabelled LR images (1, C, H, W) in 0–1.
        one_level: take the selection's ratio as the share of all images' tiles, by one level for all, in place of the
            share of each.

    Raises:
        UserError: the network cannot be read, or the images are too small.
    """
    restore_(net)
    training = net.training
    net.eval()
    program = read_network(net, images[0].shape[1])
    levels = quantiles(selection, images)
    if one_level and selection.ratio is not None:
        selection = at_share(selection, levels, selection.ratio)
    prediction = fit(program, net, images, selection.tiles, selection.tile)
    net.train(training)
    settings: dict[str, Any] = {'selection': dataclasses.asdict(selection), 'levels': levels, 'images': len(images),
                                'pixels': sum(image[0, 0].numel() for image in images)}
    return Calibration(prediction, type(net).__name__, program.fingerprint, settings)


class Meter:
    """Measures calibrations of a plain network on the held images, whose dense images it keeps."""

    def __init__(self, net: nn.Module, trial: Trial) -> None:
        self.net, self.trial = net, trial
        self.dense, self.macs = zip(*(self._run(image) for image in trial.held), strict=True)

    def _run(self, image: torch.Tensor) -> tuple[Any, int]:
        with torch.no_grad(), ConvolutionCounter() as counter:
            result = self.net(image)
        return tensor2img(result), counter.macs

    def _psnr(self, image: Any, reference: Any) -> float:
        return float(calculate_psnr(image, reference, crop_border=self.trial.scale, test_y_channel=image.ndim == 3))

    def measure(self, calibration: Calibration) -> Point:
        """What a calibration gives; the network is left plain."""
        accelerate_(self.net, AMSRConfig(calibration=calibration, mode='sparse'))
        rows = []
        for number, image in enumerate(self.trial.held):
            result, macs = self._run(image)
            row = [float(self.net.last_mask_ratio), macs / self.macs[number],  # type: ignore[arg-type]
                   self._psnr(result, self.dense[number])]
            if self.trial.truth is not None:
                truth = self.trial.truth[number]
                row.append(self._psnr(self.dense[number], truth) - self._psnr(result, truth))
            rows.append(row)
        restore_(self.net)
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return Point(means[0], means[1], means[2], means[3] if len(means) > 3 else None)


def search(net: nn.Module, selection: HighFrequencyMask, trial: Trial, max_loss: float,
           progress: Callable[[Point], None] = lambda point: None,
           one_level: bool = False) -> tuple[HighFrequencyMask, Point]:
    """The selection with the fewest tiles whose loss on the held images is at most `max_loss` dB, by bisection;
    `one_level` as in `calibrate`.

    Raises:
        UserError: there is none.
    """
    meter = Meter(net, trial)

    def attempt(ratio: float) -> tuple[HighFrequencyMask, Point, float]:
        tried = dataclasses.replace(selection, ratio=ratio)
        point = meter.measure(calibrate(net, tried, trial.fitted, one_level))
        progress(point)
        if point.loss is None:
            raise UserError('without ground truth no loss can be measured: give HR images.')
        return tried, point, point.loss

    best, good, bad = None, -1, len(RATIOS)  # the fewer tiles, the more is lost
    while bad - good > 1:
        middle = (good + bad) // 2
        tried, point, loss = attempt(RATIOS[middle])
        if loss <= max_loss:
            best, good = (tried, point), middle
        else:
            bad = middle
    if best is None:
        raise UserError(f'with {RATIOS[0]:.0%} of the tiles the network loses {loss:.3f} dB, more than '
                        f'{max_loss:g}: allow more, or smaller tiles.')
    return best
