"""What a report says of each picture: before, after, mask, milliseconds and MACs beside the whole network."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from basicsr_amsr.amsr.calibration.calibrated_costs import count_calibrated
from basicsr_amsr.execution.timer import time_paired
from basicsr_amsr.infer import pixels
from basicsr_amsr.infer.picture import Picture, eight_bits
from basicsr_amsr.infer.pixels import Array
from basicsr_amsr.infer.run_pictures import Done, mask_of
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.psnr import plain_psnr

SECONDS = 2.0  # of timing each picture; each network runs twice at least
MOST_ROUNDS = 20


@dataclass(frozen=True)
class Shown:
    """A picture of the report; figures of the whole network where something was skipped.

    Attributes:
        done: what became of it.
        given, after: LR and SR image, RGB or gray, uint8. mask: what was computed, bool, of the LR image's size.
        milliseconds, whole_milliseconds: of a warm pass, and of one of the whole network: medians, timed in turn.
        nearness: PSNR to its picture in dB, all channels, 8 bits. macs: share of the whole network's.
    """

    done: Done
    given: Array
    after: Array
    mask: npt.NDArray[np.bool_]
    milliseconds: float
    whole_milliseconds: float | None = None
    nearness: float | None = None
    macs: float | None = None

    @property
    def before(self) -> Array:
        """The LR image enlarged by bicubic interpolation."""
        height, width = self.after.shape[:2]
        return np.asarray(Image.fromarray(self.given).resize((width, height), Image.Resampling.BICUBIC))


class Paper(Protocol):
    """A kind of file that a report is written as."""

    def add(self, shown: Shown) -> None:
        """Add a picture to the report."""

    def content(self) -> bytes:
        """The bytes of the file."""


class Report:
    """Looks at pictures; each is computed again, by the network and by the whole network, two seconds or twice.

    Args:
        upscale: what computes. whole: the same network, of which nothing is skipped; None where `upscale` is that.
        paper: what gets the pictures.
    """

    def __init__(self, upscale: Upscaler, whole: Upscaler | None, paper: Paper) -> None:
        self.upscale, self.whole, self.paper = upscale, whole, paper

    def look(self, done: Done, given: Picture, large: Picture) -> None:
        """See a picture and its enlargement."""
        lr, after = opaque(given.array), opaque(large.array)
        mask = mask_of(self.upscale, given).array > 0
        calls, whole = {'ours': lambda: self.upscale.enlarge_array(given.array)}, self.whole
        if whole is not None:
            calls['whole'] = lambda: whole.enlarge_array(given.array)
        times = time_paired(calls, self.upscale.form.device, SECONDS, warmup=1, min_rounds=1, max_rounds=MOST_ROUNDS)
        ours = times.latency('ours').median
        if whole is None:
            self.paper.add(Shown(done, lr, after, mask, ours))
            return
        nearness = plain_psnr(eight_bits(large.array), eight_bits(whole.enlarge_array(given.array)), 255)
        self.paper.add(Shown(done, lr, after, mask, ours, times.latency('whole').median, nearness,
                            macs_share(self.upscale, given.array)))


def macs_share(upscale: Upscaler, array: Array) -> float | None:
    """MACs of a calibrated network for a picture over those of the whole network; None where nothing tells."""
    net, active = upscale.network.net, upscale.active(pixels.of_array(array))
    calibrated, calibration = getattr(net, 'calibrated', None), upscale.form.calibration
    if active is None or calibrated is None or calibration is None:
        return None
    height, width = array.shape[:2]
    costs = count_calibrated(calibrated.program, net, calibrated.prediction, upscale.network.channels, height, width)
    return costs.of(active[0].cpu(), calibration.selection().patch_size, height, width) / costs.dense


def opaque(array: Array) -> Array:
    """A picture in 8 bits, on white where it is transparent."""
    image = Image.fromarray(eight_bits(array))
    if image.mode in ('LA', 'RGBA'):
        ground = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(ground, image.convert('RGBA')).convert('RGB')
    return np.asarray(image)
