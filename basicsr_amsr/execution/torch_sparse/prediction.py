"""What skipped pixels get: values predicted from the anchor's, and the image from a light tail."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from basicsr_amsr.execution.graph.rules import Rules
from basicsr_amsr.execution.graph.trace import Unreadable

Change = Callable[[torch.Tensor], torch.Tensor]


def unshuffled(rows: torch.Tensor, scale: int) -> torch.Tensor:
    """Rows (n, channels · scale²) in the order of a pixel shuffle as (n · scale², channels), pixel by pixel."""
    count, channels = len(rows), rows.shape[1] // scale**2
    return rows.view(count, channels, scale**2).transpose(1, 2).reshape(count * scale**2, channels)


def rectified(anchor: torch.Tensor) -> torch.Tensor:
    """The features that predictions are made from: the anchor's channels, (n, C) or (B, C, H, W), and their ReLU behind
    them, 2·C channels, because an affine map of the channels alone cannot follow the network's activations."""
    return torch.cat([anchor, anchor.relu()], 1)


@dataclass(frozen=True)
class Affine:
    """y = W x + b for every pixel; a pixel of an enlarged map has weights of its own in the feature's pixel.

    Attributes:
        weight: (channels · scale², C), the order of a pixel shuffle; with `narrow` (channels · scale², rank).
        bias: (channels · scale²).
        scale: side of the map over the features'.
        narrow: (rank, C), where W = weight · narrow is of low rank.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    scale: int = 1
    narrow: torch.Tensor | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates for each pixel of the features."""
        return self.weight.numel() + (0 if self.narrow is None else self.narrow.numel())

    def map(self, features: torch.Tensor) -> torch.Tensor:
        """The prediction at all pixels, (B, channels, scale · H, scale · W), of features (B, C, H, W)."""
        if self.narrow is not None:
            features = F.conv2d(features, self.narrow[:, :, None, None])
        values = F.conv2d(features, self.weight[:, :, None, None], self.bias)
        return F.pixel_shuffle(values, self.scale) if self.scale > 1 else values

    def linear(self, features: torch.Tensor, bias: bool = True) -> torch.Tensor:
        """The prediction for rows of features (n, C): (n, channels · scale²), in the order of a pixel shuffle."""
        if self.narrow is not None:
            features = F.linear(features, self.narrow)
        return F.linear(features, self.weight, self.bias if bias else None)

    def rows(self, features: torch.Tensor) -> torch.Tensor:
        """The prediction for rows of features (n, C): (n · scale², channels), pixel by pixel."""
        values = self.linear(features)
        return values if self.scale == 1 else unshuffled(values, self.scale)

    def changed(self, change: Change) -> Affine:
        """The same with each of its tensors changed."""
        narrow = None if self.narrow is None else change(self.narrow)
        return Affine(change(self.weight), change(self.bias), self.scale, narrow)


@dataclass(frozen=True)
class LightTail:
    """The image at skipped pixels: a k×k convolution of the LR image and a 1×1 convolution of the anchor, shuffled.

    Attributes:
        image: (channels · scale², image channels, k, k).
        feature: of the anchor, as many channels.
    """

    image: torch.Tensor
    feature: Affine

    @property
    def scale(self) -> int:
        """Upscaling factor of the network."""
        return self.feature.scale

    @property
    def border(self) -> int:
        """Pixels read beyond each side of the LR image; they repeat its border."""
        return self.image.shape[-1] // 2

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """LR images with that border."""
        return F.pad(x, (self.border,) * 4, mode='replicate')

    def map(self, x: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        """The image at all pixels, (B, channels, scale · H, scale · W), of LR images (B, C, H, W)."""
        seen = F.conv2d(self.padded(x), self.image)
        return F.pixel_shuffle(seen, self.scale) + self.feature.map(anchor)

    def changed(self, change: Change) -> LightTail:
        """The same with each of its tensors changed."""
        return LightTail(change(self.image), self.feature.changed(change))


@dataclass(frozen=True)
class Prediction:
    """What a calibrated network uses in place of what it does not compute at skipped pixels.

    Attributes:
        contexts: predicts each value that is read beyond the active pixels from the `rectified` anchor.
        tail: makes the image; None where the network's last value is known everywhere.
    """

    contexts: Mapping[int, Affine]
    tail: LightTail | None

    def changed(self, change: Change) -> Prediction:
        """The same with each of its tensors changed."""
        return Prediction({value: affine.changed(change) for value, affine in self.contexts.items()},
                          self.tail.changed(change) if self.tail else None)

    def to(self, like: torch.Tensor) -> Prediction:
        """On the device of a tensor, in its number format."""
        return self.changed(lambda tensor: tensor.to(like))


def renumbered(prediction: Prediction, rules: Rules) -> Prediction:
    """A prediction for another trace of the network, whose values have other numbers but the same order."""
    contexts = dict(zip(rules.contexts, (affine for _, affine in sorted(prediction.contexts.items())), strict=False))
    same = len(prediction.contexts) == len(rules.contexts) and all(
        affine.scale == rules.scale(value) and len(affine.bias) == rules.channels(value) * affine.scale ** 2
        for value, affine in contexts.items())
    if not same:
        raise Unreadable(f'{rules.graph.name}: the calibration is of another reading of the network')
    return Prediction(contexts, prediction.tail)
