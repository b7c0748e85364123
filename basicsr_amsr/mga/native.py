"""The parts of a mask-guided network by the native kernels."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.dense.small_maps import MapsForm, squares_of
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.mga.canvas import Canvas, empty_canvas
from basicsr_amsr.mga.halo_patches import HALO, PatchIndex
from basicsr_amsr.mga.host_mask import error_mask

Part = Callable[[Any, torch.Tensor], Any]  # of the network and a map


def base(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Image to coarse image, as in variant B."""
    return net.base(x)


def dense(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Image to the image that is refined everywhere, as in variant D."""
    return net.refine(net.base.extract(x), halo=False)


def feature_and_coarse(net: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Image to coarse feature and coarse image."""
    feature = net.base.extract(x)
    return feature, net.base.reconstruct(feature, x)


def patches(net: Any, feature: torch.Tensor) -> torch.Tensor:
    """Patches of the coarse feature with their halo to those of the image."""
    return net.refine(feature)


def feature(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Image to coarse feature."""
    return net.base.extract(x)


def coarse(net: Any, both: torch.Tensor) -> torch.Tensor:
    """Coarse feature and, behind its channels, the image that it is of, to the coarse image."""
    channels = net.mask.conv1.in_channels
    return net.base.reconstruct(both[:, :channels], both[:, channels:])


def whole(net: Any, feature: torch.Tensor) -> torch.Tensor:
    """Coarse feature to the image that is refined everywhere, as in variant D."""
    return net.refine(feature, halo=False)


def scores(net: Any, feature: torch.Tensor) -> torch.Tensor:
    """What the mask averages over the patches, from a coarse feature in whole patches."""
    return net.mask.scores(feature)


class NativeParts:
    """Runs each part by a dense form; what the kernels do not have, torch runs. Copies and pickles start anew."""

    def __init__(self) -> None:
        self.forms: dict[Part, DenseForm] = {
            part: DenseForm(Traces(part)) for part in (base, dense, feature, coarse, whole, scores)}
        self.patches = MapsForm(Traces(patches))
        self.both = DenseForm(Traces(feature_and_coarse, several=True))

    def run(self, part: Part, net: Any, *maps: torch.Tensor) -> torch.Tensor | None:
        """What a part of this module gives of maps (N, ·, H, W), side by side; None where torch has to run, or
        gradients are wanted."""
        if _is_training(net):
            return None
        return self.forms[part].image(net, torch.cat(maps, 1) if len(maps) > 1 else maps[0])

    def feature_and_coarse(self, net: Any, x: torch.Tensor) -> Canvas | None:
        """What `feature_and_coarse` gives of float32 images (N, C, H, W), by one call each; or None, as `run`."""
        if _is_training(net) or x.dtype != torch.float32:
            return None

        def run(precision: str) -> Canvas:
            canvas = _canvas(net, x, net.mask.conv1.in_channels)
            self.both.write(net, x, precision, (canvas.feature, canvas.picture))
            return canvas

        return self.both.where_it_can(net, x, run)

    def error_mask(self, net: Any, feature: torch.Tensor) -> torch.Tensor | None:
        """The mask of a coarse feature in whole patches; or None, as `run`."""
        found = self.run(scores, net, feature)
        return None if found is None else error_mask(net.mask, found.float())

    def refine(self, net: Any, canvas: Canvas, index: PatchIndex) -> torch.Tensor | None:
        """The picture of a canvas, into which the refined patches are written; or None, as `run`."""
        return self.patches.where_it_can(net, canvas.padded, partial(self._refine, net, canvas, index))

    def refined(self, net: Any, feature: torch.Tensor, coarse: torch.Tensor | None,
                index: PatchIndex) -> torch.Tensor | None:
        """The coarse image with the refined patches in their places, None for it where these are all there are; or
        None, as `run`."""
        if _is_training(net):
            return None

        def run(precision: str) -> torch.Tensor:
            canvas = _canvas(net, feature, feature.shape[1])
            canvas.feature.copy_(feature)
            if coarse is not None:
                canvas.picture.copy_(coarse)
            return self._refine(net, canvas, index, precision).to(feature.dtype)

        return self.patches.where_it_can(net, feature, run)

    def _refine(self, net: Any, canvas: Canvas, index: PatchIndex, precision: str) -> torch.Tensor:
        step, size = net.patch_size, net.scale * net.patch_size
        source = squares_of(canvas.padded, *index, step, step + 2 * HALO)
        self.patches.write(net, source, squares_of(canvas.image, *index, size, size), precision)
        return canvas.picture

    def __reduce__(self) -> tuple[Any, ...]:
        return NativeParts, ()


def _is_training(net: Any) -> bool:
    return net.training or torch.is_grad_enabled()


def _canvas(net: Any, maps: torch.Tensor, channels: int) -> Canvas:
    """A canvas for a feature of so many channels, of the size of (N, ·, H, W)."""
    batch, _, height, width = maps.shape
    return empty_canvas(batch, channels, height, width, net.patch_size, net.scale)
