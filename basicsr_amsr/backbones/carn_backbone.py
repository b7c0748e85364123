"""CARN and CARN-M: Fast, Accurate, and Lightweight SR with Cascading Residual Network (Ahn et al., ECCV 2018)."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, rename, shuffle_scale
from basicsr_amsr.backbones.layers import check_upscale
from basicsr_amsr.backbones.mean_shift import DIV2K_MEAN, MEAN_LAYER, channel_mean
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone

STEPS = 3


class ResidualBlock(nn.Module):
    """CARN's unit: 3×3, ReLU, 3×3, added to the input, ReLU."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(num_feat, num_feat, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + x)


class EfficientBlock(nn.Module):
    """CARN-M's unit: two grouped 3×3 with ReLU, 1×1, added to the input, ReLU (section 3.3)."""

    def __init__(self, num_feat: int, group: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, 1, 1, groups=group), nn.ReLU(inplace=True),
            nn.Conv2d(num_feat, num_feat, 3, 1, 1, groups=group), nn.ReLU(inplace=True),
            nn.Conv2d(num_feat, num_feat, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + x)


class Cascade(nn.Module):
    """Three units one after the other; each gets a 1×1 fusion of the input and of all outputs so far (section 3.1).

    A single unit stands for all three: CARN-M shares its weights.
    """

    def __init__(self, units: Sequence[nn.Module], num_feat: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.Conv2d(num_feat * (step + 2), num_feat, 1), nn.ReLU(inplace=True))
            for step in range(STEPS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x
        for step, fuse in enumerate(self.fuse):
            seen = torch.cat([seen, self.units[step % len(self.units)](x)], 1)
            x = fuse(seen)
        return x


def upsampler(upscale: int, num_feat: int, group: int) -> nn.Sequential:
    """(Grouped) convolution, ReLU, pixel shuffle, twice at ×4: (N, C, H, W) to (N, C, upscale·H, upscale·W)."""
    layers: list[nn.Module] = []
    for factor in (2, 2) if upscale == 4 else (upscale,):
        layers += [nn.Conv2d(num_feat, num_feat * factor**2, 3, 1, 1, groups=group), nn.ReLU(inplace=True),
                   nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class CARN(nn.Module):
    """CARN for one scale (the published files hold an upsampler for each of ×2, ×3, ×4; the rest is common).

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body.
        group: groups of the 3×3 convolutions; above 1, units are the efficient ones.
        recursive: the units of a cascading block share their weights.
    """

    mean_in: torch.Tensor
    mean_out: torch.Tensor

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, group: int = 1,
                 recursive: bool = False) -> None:
        super().__init__()
        self.upscale = check_upscale(type(self).__name__, upscale)
        self.register_buffer('mean_in', channel_mean(DIV2K_MEAN, num_in_ch), persistent=False)
        self.register_buffer('mean_out', channel_mean(DIV2K_MEAN, num_out_ch), persistent=False)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)

        def unit() -> nn.Module:
            return EfficientBlock(num_feat, group) if group > 1 else ResidualBlock(num_feat)

        self.body = Cascade(
            [Cascade([unit() for _ in range(1 if recursive else STEPS)], num_feat) for _ in range(STEPS)], num_feat)
        self.upsampler = upsampler(upscale, num_feat, group)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to feature (N, num_feat, H, W)."""
        return self.body(self.conv_first(x - self.mean_in))

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Feature (N, num_feat, H, W) to the image (N, C, upscale·H, upscale·W) in 0–1; `x` is not looked at."""
        return self.conv_last(self.upsampler(feature)) + self.mean_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)


class CARN_M(CARN):
    """CARN-M for one scale: efficient units in 4 groups, shared inside each cascading block."""

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, group: int = 4,
                 recursive: bool = True) -> None:
        super().__init__(upscale, num_in_ch, num_out_ch, num_feat, group, recursive)


PUBLIC_NAMES: list[Rule] = [
    (r'entry\.', 'conv_first.'),
    (r'b(\d)\.b(\d)\.', lambda m: f'body.units.{int(m[1]) - 1}.units.{int(m[2]) - 1}.'),
    (r'b(\d)\.c(\d)\.body\.', lambda m: f'body.units.{int(m[1]) - 1}.fuse.{int(m[2]) - 1}.'),
    (r'c(\d)\.body\.', lambda m: f'body.fuse.{int(m[1]) - 1}.'),
    (r'exit\.', 'conv_last.'),
    (r'upsample\.up\.body\.', 'upsampler.'),
]


def convert(state_dict: StateDict, net: nn.Module) -> StateDict:
    """Renames, drops the mean shift, and of three upsamplers keeps the network's."""
    own: list[Rule] = [(rf'upsample\.up{getattr(net, "upscale", "")}\.body\.', 'upsampler.')]
    others = ('upsample.up2.', 'upsample.up3.', 'upsample.up4.')
    renamed = rename(state_dict, [*own, *PUBLIC_NAMES])
    return {key: value for key, value in renamed.items() if not MEAN_LAYER.match(key) and not key.startswith(others)}


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options; a public file holds several scales."""
    first, unit = state_dict['conv_first.weight'], state_dict['body.units.0.units.0.body.0.weight']
    held = tuple(s for s in (2, 3, 4) if f'upsample.up{s}.body.0.weight' in state_dict)
    if 'upsampler.0.weight' in state_dict:
        held = (shuffle_scale(state_dict, 'upsampler.0.weight', 'upsampler.3.weight', first.shape[0]),)
    return {'upscale': held, 'num_in_ch': first.shape[1], 'num_out_ch': state_dict['conv_last.weight'].shape[0],
            'num_feat': first.shape[0], 'group': unit.shape[0] // unit.shape[1],
            'recursive': count(state_dict, r'body\.units\.0\.units\.(\d+)\.') == 1}


for _name, _class in {'CARN': CARN, 'CARN_M': CARN_M}.items():
    register_backbone(
        _name, _class, defaults={'upscale': 4}, convert=convert, skips=units_of(ResidualBlock, EfficientBlock),
        identify=identifier(read_options, ['conv_first.weight', 'body.units.0.units.0.body.0.weight',
                                           'conv_last.weight'], PUBLIC_NAMES),
        source='Ahn et al., Fast, Accurate, and Lightweight SR with Cascading Residual Network, ECCV 2018')
