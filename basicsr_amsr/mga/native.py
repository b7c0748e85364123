"""The parts of a mask-guided network by the native kernels."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.dense.small_maps import MapsForm
from basicsr_amsr.execution.graph.traces import Traces

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


def logits(net: Any, feature: torch.Tensor) -> torch.Tensor:
    """The mask's logits, from a coarse feature in whole patches."""
    return net.mask.logits(feature)


class NativeParts:
    """Runs each part by a dense form; what the kernels do not have, torch runs. Copies and pickles start anew."""

    def __init__(self) -> None:
        self.forms: dict[Part, DenseForm | MapsForm] = {
            part: DenseForm(Traces(part)) for part in (base, dense, feature, coarse, whole, logits)}
        self.forms[patches] = MapsForm(Traces(patches))
        self.both = DenseForm(Traces(feature_and_coarse, several=True))

    def run(self, part: Part, net: Any, *maps: torch.Tensor) -> torch.Tensor | None:
        """What a part of this module gives of maps (N, ·, H, W), side by side; None where torch has to run, or
        gradients are wanted."""
        if net.training or torch.is_grad_enabled():
            return None
        return self.forms[part].image(net, torch.cat(maps, 1) if len(maps) > 1 else maps[0])

    def feature_and_coarse(self, net: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...] | None:
        """What `feature_and_coarse` gives of images (N, C, H, W), by one call; or None, as `run`."""
        return None if net.training or torch.is_grad_enabled() else self.both.maps(net, x)

    def __reduce__(self) -> tuple[Any, ...]:
        return NativeParts, ()
