"""What EDSR and RCAN share: images are shifted by the mean of DIV2K and scaled inside the network."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import nn

from basicsr_amsr.backbones.keys import Rule, StateDict, rename
from basicsr_amsr.errors import UserError

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
MEAN_LAYER = re.compile(r'(sub|add)_mean\.')


# Names in the code of EDSR and RCAN that their authors published.
TAIL_NAMES: list[Rule] = [
    (r'tail\.0\.(\d+)\.', r'upsample.\1.'),
    (r'tail\.1\.', 'conv_last.'),
]


def mean_dropper(rules: Sequence[Rule]) -> Callable[[StateDict, nn.Module], StateDict]:
    """A `Backbone.convert` that renames, and drops the public code's convolutions that shift the mean."""
    def convert(state_dict: StateDict, net: nn.Module) -> StateDict:
        return {key: value for key, value in rename(state_dict, rules).items() if not MEAN_LAYER.match(key)}

    return convert


def channel_mean(rgb_mean: Sequence[float], channels: int) -> torch.Tensor:
    """The mean to subtract, (1, channels, 1, 1); for gray images the average of the three.

    Raises:
        UserError: neither one value per channel nor three for gray.
    """
    values = list(rgb_mean)
    if channels == 1 and len(values) == 3:
        values = [sum(values) / 3]
    if len(values) != channels:
        raise UserError(f'rgb_mean has {len(values)} values, but the image has {channels} channels.')
    return torch.tensor(values).view(1, -1, 1, 1)


class ShiftedNetwork(nn.Module):
    """Stops BasicSR's EDSR and RCAN at their last LR feature. To be mixed in before the network class."""

    mean: torch.Tensor
    img_range: float
    conv_first: nn.Module
    body: nn.Module
    conv_after_body: nn.Module
    upsample: nn.Module
    conv_last: nn.Module

    def set_mean(self, rgb_mean: Sequence[float], channels: int) -> None:
        """Replace BasicSR's plain attribute, which has three channels always and stays behind on the CPU."""
        del self.mean
        self.register_buffer('mean', channel_mean(rgb_mean, channels), persistent=False)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to feature (N, num_feat, H, W)."""
        feature = self.conv_first((x - self.mean) * self.img_range)
        return self.conv_after_body(self.body(feature)) + feature

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Feature (N, num_feat, H, W) to the image (N, C, upscale·H, upscale·W) in 0–1; `x` is not looked at."""
        return self.conv_last(self.upsample(feature)) / self.img_range + self.mean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)
