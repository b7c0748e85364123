"""Calibrates a network, measures what it loses, and finds the smallest share of patches that keeps a wanted quality."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from basicsr.utils import tensor2img
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_, restore_, unwrapped
from basicsr_amsr.amsr.calibration.calibrated_tokens import fingerprint
from basicsr_amsr.amsr.calibration.file import Calibration, Fit
from basicsr_amsr.amsr.calibration.fit import fit
from basicsr_amsr.amsr.calibration.fit_tokens import fit_tokens
from basicsr_amsr.amsr.config import AMSRConfig, calibrated_selection
from basicsr_amsr.amsr.descriptor import Descriptor
from basicsr_amsr.backbones.tokens import token_family
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.psnr import plain_psnr, published_psnr
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.level import by_one_level, quantiles

KEEPS = tuple(round(0.95 - 0.05 * step, 2) for step in range(18))  # 0.95 … 0.10
EQUAL = 100.0  # dB, of an image that equals the dense one, in a mean


class Point(NamedTuple):
    """What a calibrated network gives on images that it was not fitted to.

    Attributes:
        keep: share of active patches.
        macs: multiply-accumulates as a share of the dense network's.
        fidelity: PSNR in dB against the dense network's image, of 8 bits, over all pixels and channels; where they are
            equal it counts as `EQUAL`.
        loss: dB by which its PSNR against ground truth is below the dense network's; None without ground truth.
    """

    keep: float
    macs: float
    fidelity: float
    loss: float | None


@dataclass(frozen=True)
class Trial:
    """The images by which a calibration is chosen.

    Attributes:
        fitted: LR images (1, C, H, W) to fit to.
        held: LR images to measure on.
        truth: the ground truth of the held images, where there is one.
        scale: of the network; border that PSNR leaves out.
    """

    fitted: Sequence[torch.Tensor]
    held: Sequence[torch.Tensor]
    truth: Sequence[Any] | None
    scale: int


def calibrate(net: nn.Module | Descriptor, images: Sequence[torch.Tensor], selection: HighFrequencyMask | None = None,
              one_level: bool = True) -> Calibration:
    """Fit predictions for the pixels that a network is to skip, on its device; takes seconds to minutes.

    Its weights stay as they are; a network that was accelerated is plain afterwards.

    Args:
        net: the network, or what spandrel's ModelLoader returns.
        images: unlabelled LR images (1, C, H, W) in 0–1, like those to come.
        selection: where it will compute; None: half of the patches of 4×4.
        one_level: the selection's `keep` is a share of the patches of all images together, taken by one threshold, so
            that a detailed image has more of them; False: it is the share of each image.

    Raises:
        UserError: the network cannot be read, or the images are too small.

    Examples:
        >>> net = sr.load_pretrained('RFDN_x4')
        >>> images = [torch.rand(1, 3, 32, 48) for _ in range(4)]  # yours, in place of noise
        >>> calibration = sr.calibrate(net, images)
        >>> report = sr.accelerate_(net, sr.AMSRConfig(calibration=calibration))
    """
    net, selection = unwrapped(net), selection or calibrated_selection()
    restore_(net)
    training = net.training
    net.eval()
    family = token_family(net)
    program = None if family else read_network(net, images[0].shape[1])
    levels = quantiles(selection, images)
    if one_level and selection.keep is not None:
        selection = by_one_level(selection, levels, selection.keep)
    if program is None:
        assert family is not None
        told = fingerprint(family, net)
        prediction = fit_tokens(family, net, images, selection.patches, selection.patch_size)
    else:
        told = program.fingerprint
        prediction = fit(program, net, images, selection.patches, selection.patch_size)
    net.train(training)
    pixels = sum(image[0, 0].numel() for image in images)
    return Calibration(prediction, type(net).__name__, told, Fit(selection, levels, len(images), pixels))


class Meter:
    """Measures calibrations on the held images; keeps what the plain network makes of these."""

    def __init__(self, net: nn.Module, trial: Trial) -> None:
        self.net, self.trial = net, trial
        self.dense, self.macs = zip(*(self._run(image) for image in trial.held), strict=True)

    def _run(self, image: torch.Tensor) -> tuple[Any, int]:
        with torch.no_grad(), MacCounter() as counter:
            result = self.net(image)
        return tensor2img(result), counter.macs

    def measure(self, calibration: Calibration) -> Point:
        """Share, MACs and quality of a calibration on the held images; the network is plain again afterwards."""
        accelerate_(self.net, AMSRConfig(calibration=calibration, mode='sparse'))
        rows = []
        for number, image in enumerate(self.trial.held):
            result, macs = self._run(image)
            row = [float(self.net.last_keep), macs / self.macs[number],  # type: ignore[arg-type]
                   min(plain_psnr(result, self.dense[number], 255), EQUAL)]
            if self.trial.truth is not None:
                truth = self.trial.truth[number]
                row.append(published_psnr(self.dense[number], truth, self.trial.scale)
                           - published_psnr(result, truth, self.trial.scale))
            rows.append(row)
        restore_(self.net)
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return Point(means[0], means[1], means[2], means[3] if len(means) > 3 else None)


def search(net: nn.Module, selection: HighFrequencyMask, trial: Trial, max_loss: float,
           progress: Callable[[Point], None] = lambda point: None,
           one_level: bool = False) -> tuple[HighFrequencyMask, Point]:
    """The selection with the fewest patches whose loss on the held images is at most `max_loss` dB, by bisection;
    `one_level` as in `calibrate`.

    Raises:
        UserError: there is none.
    """
    meter = Meter(net, trial)

    def attempt(keep: float) -> tuple[HighFrequencyMask, Point, float]:
        tried = dataclasses.replace(selection, keep=keep)
        point = meter.measure(calibrate(net, trial.fitted, tried, one_level))
        progress(point)
        if point.loss is None:
            raise UserError('without ground truth no loss can be measured: give HR images.')
        return tried, point, point.loss

    best, good, bad = None, -1, len(KEEPS)  # the fewer patches, the more is lost
    while bad - good > 1:
        middle = (good + bad) // 2
        tried, point, loss = attempt(KEEPS[middle])
        if loss <= max_loss:
            best, good = (tried, point), middle
        else:
            bad = middle
    if best is None:
        raise UserError(f'with {KEEPS[0]:.0%} of the patches the network loses {loss:.3f} dB, more than '
                        f'{max_loss:g}: allow more, or smaller patches.')
    return best
