"""SRResNet as the MGA paper uses it: that of SRGAN (Ledig et al., CVPR 2017) without batch normalisation."""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from basicsr_amsr.backbones.division import divider
from basicsr_amsr.backbones.keys import StateDict, count, identifier, shuffle_scale
from basicsr_amsr.backbones.layers import HaloConvs, check_upscale
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.backbones.split import MGASplit

SPLIT_BLOCKS = (12, 4)


class ResidualBlock(nn.Module):
    """3×3 convolution, PReLU, 3×3 convolution, added to the input."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.act(self.conv1(x))) + x


def upsampler(upscale: int, num_feat: int, num_out_ch: int) -> nn.Sequential:
    """Convolution, pixel shuffle, PReLU (twice at ×4), then 9×9: (N, C, H, W) to (N, channels, upscale·H, ·W)."""
    layers: list[nn.Module] = []
    for factor in (2, 2) if upscale == 4 else (upscale,):
        layers += [nn.Conv2d(num_feat, num_feat * factor**2, 3, 1, 1), nn.PixelShuffle(factor), nn.PReLU()]
    return nn.Sequential(*layers, nn.Conv2d(num_feat, num_out_ch, 9, 1, 4))


class SRResNet(nn.Module):
    """SRResNet with 9×9 first and last convolutions and no normalisation.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body. num_block: residual blocks.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64,
                 num_block: int = 16) -> None:
        super().__init__()
        check_upscale('SRResNet', upscale)
        self.conv_first = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 9, 1, 4), nn.PReLU())
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsampler = upsampler(upscale, num_feat, num_out_ch)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to feature (N, num_feat, H, W)."""
        feature = self.conv_first(x)
        return self.conv_after_body(self.body(feature)) + feature

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Feature (N, num_feat, H, W) to the image (N, C, upscale·H, upscale·W) in 0–1; `x` is not looked at."""
        return self.upsampler(feature)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)


class SRResNetRefine(nn.Module):
    """MGA's refine net of SRResNet: residual blocks and a convolution with a long skip, two convolutions, upsampler."""

    def __init__(self, upscale: int = 4, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv = HaloConvs(num_feat)
        self.upsampler = upsampler(upscale, num_feat, num_out_ch)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, channels, upscale·h, upscale·w) in 0–1."""
        return self.upsampler(self.conv(self.conv_after_body(self.body(x)) + x, halo))


def split(base_blocks: int = SPLIT_BLOCKS[0], refine_blocks: int = SPLIT_BLOCKS[1], upscale: int = 4,
          num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64) -> MGASplit:
    """Base net with `base_blocks` residual blocks, refine net with `refine_blocks` (paper: 12 + 4)."""
    return MGASplit(
        base=SRResNet(upscale, num_in_ch, num_out_ch, num_feat, base_blocks),
        refine=SRResNetRefine(upscale, num_out_ch, num_feat, refine_blocks),
        num_feat=num_feat)


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options. At ×4 the last convolution, which follows two upsampling stages, has the index 6."""
    first = state_dict['conv_first.0.weight']
    scale = shuffle_scale(state_dict, 'upsampler.0.weight', 'upsampler.6.weight', first.shape[0])
    return {'upscale': scale, 'num_in_ch': first.shape[1],
            'num_out_ch': state_dict[f'upsampler.{6 if scale == 4 else 3}.weight'].shape[0],
            'num_feat': first.shape[0], 'num_block': count(state_dict, r'body\.(\d+)\.')}


register_backbone(
    'SRResNet', SRResNet, defaults={'upscale': 4}, split=split, split_blocks=SPLIT_BLOCKS,
    skips=units_of(ResidualBlock),
    divide=divider(r'body\.(\d+)\.', ['upsampler.']),
    identify=identifier(read_options, ['conv_first.0.weight', 'conv_first.1.weight', 'upsampler.0.weight']),
    source='Ledig et al., Photo-Realistic Single Image Super-Resolution Using a GAN, CVPR 2017; MGA, ECCV 2022')
