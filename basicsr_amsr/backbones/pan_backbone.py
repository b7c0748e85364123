"""PAN: Efficient Image Super-Resolution Using Pixel Attention (Zhao et al., ECCV workshops 2020)."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.backbones.division import divider
from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, renamer
from basicsr_amsr.backbones.layers import check_upscale, convolve
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.backbones.split import MGASplit

SPLIT_BLOCKS = (12, 4)


class PixelAttention(nn.Module):
    """x · sigmoid(1×1 convolution of x): one weight per pixel and channel (equation 3)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.conv(x).sigmoid()


class AttentiveConv(nn.Module):
    """The upper branch of SCPA: a 3×3 convolution weighted by pixel attention, and another 3×3 convolution."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.attention = nn.Conv2d(num_feat, num_feat, 1)
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x) * self.attention(x).sigmoid())


class SCPA(nn.Module):
    """Self-calibrated block with pixel attention (section 3.3): two branches of half the width, and a residual."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        half = num_feat // 2
        self.shrink_plain = nn.Conv2d(num_feat, half, 1, bias=False)
        self.shrink_attentive = nn.Conv2d(num_feat, half, 1, bias=False)
        self.plain = nn.Conv2d(half, half, 3, 1, 1, bias=False)
        self.attentive = AttentiveConv(half)
        self.merge = nn.Conv2d(2 * half, num_feat, 1, bias=False)
        self.act = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain = self.act(self.plain(self.act(self.shrink_plain(x))))
        attentive = self.act(self.attentive(self.act(self.shrink_attentive(x))))
        return self.merge(torch.cat([plain, attentive], 1)) + x


class UpsamplingStage(nn.Module):
    """Nearest-neighbour enlargement, convolution, pixel attention, convolution (U-PA, section 3.4)."""

    def __init__(self, factor: int, num_in: int, num_feat: int, padding: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(num_in, num_feat, 3, 1, padding[0])
        self.attention = PixelAttention(num_feat)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, padding[1])
        self.act = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: torch.Tensor, halo: bool = False) -> torch.Tensor:
        x = convolve(self.conv1, F.interpolate(x, scale_factor=self.factor, mode='nearest'), halo)
        return self.act(convolve(self.conv2, self.act(self.attention(x)), halo))


class Upsampler(nn.Module):
    """PAN's upsampler: (N, C, H, W) to (N, channels, upscale·H, upscale·W)."""

    def __init__(self, upscale: int, num_feat: int, num_up_feat: int, num_out_ch: int) -> None:
        super().__init__()
        factors = (2, 2) if upscale == 4 else (upscale,)
        widths = (num_feat, num_up_feat)
        self.stages = nn.ModuleList(
            UpsamplingStage(f, width, num_up_feat) for f, width in zip(factors, widths, strict=False))
        self.conv_last = nn.Conv2d(num_up_feat, num_out_ch, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.conv_last(x)


class HaloUpsampler(nn.Module):
    """PAN's upsampler where it consumes a halo of one, which enlargement makes `upscale` pixels wide.

    Every unpadded 3×3 convolution takes one of them: the stage's first and the last, and at ×3 one more between them;
    at ×4 the first takes one of two, the second stage's second and the last take the two that are left of it.
    """

    def __init__(self, upscale: int, num_feat: int, num_up_feat: int, num_out_ch: int) -> None:
        super().__init__()
        stages = [UpsamplingStage(2 if upscale == 4 else upscale, num_feat, num_up_feat, (0, 1))]
        if upscale == 4:
            stages.append(UpsamplingStage(2, num_up_feat, num_up_feat, (1, 0)))
        self.stages = nn.ModuleList(stages)
        self.conv_extra = nn.Conv2d(num_up_feat, num_up_feat, 3) if upscale == 3 else None
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.conv_last = nn.Conv2d(num_up_feat, num_out_ch, 3)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, channels, upscale·h, upscale·w)."""
        for stage in self.stages:
            x = stage(x, halo)
        if self.conv_extra is not None:
            x = self.act(convolve(self.conv_extra, x, halo))
        return convolve(self.conv_last, x, halo)


class PAN(nn.Module):
    """PAN: SCPA blocks, upsampling with pixel attention, and a bilinear skip.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels (equal, because of the skip).
        num_feat: channels of the body. num_up_feat: of the upsampler. num_block: SCPA blocks.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 40,
                 num_up_feat: int = 24, num_block: int = 16) -> None:
        super().__init__()
        self.upscale = check_upscale('PAN', upscale)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(SCPA(num_feat) for _ in range(num_block)))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsampler = Upsampler(upscale, num_feat, num_up_feat, num_out_ch)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to feature (N, num_feat, H, W)."""
        feature = self.conv_first(x)
        return self.conv_after_body(self.body(feature)) + feature

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Feature and the image it came from to the image (N, C, upscale·H, upscale·W) in 0–1."""
        skip = F.interpolate(x, scale_factor=self.upscale, mode='bilinear', align_corners=False)
        return self.upsampler(feature) + skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)


class PANRefine(nn.Module):
    """MGA's refine net of PAN: SCPA blocks, a convolution, and an upsampler that consumes the halo."""

    def __init__(self, upscale: int = 4, num_out_ch: int = 3, num_feat: int = 40, num_up_feat: int = 24,
                 num_block: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(*(SCPA(num_feat) for _ in range(num_block)))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsampler = HaloUpsampler(upscale, num_feat, num_up_feat, num_out_ch)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, channels, upscale·h, upscale·w) in 0–1."""
        return self.upsampler(self.conv_after_body(self.body(x)) + x, halo)


def split(base_blocks: int = SPLIT_BLOCKS[0], refine_blocks: int = SPLIT_BLOCKS[1], upscale: int = 4,
          num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 40, num_up_feat: int = 24) -> MGASplit:
    """Base net with `base_blocks` SCPA, refine net with `refine_blocks` (paper: 12 + 4)."""
    return MGASplit(
        base=PAN(upscale, num_in_ch, num_out_ch, num_feat, num_up_feat, base_blocks),
        refine=PANRefine(upscale, num_out_ch, num_feat, num_up_feat, refine_blocks),
        num_feat=num_feat)


PUBLIC_NAMES: list[Rule] = [
    (r'SCPA_trunk\.(\d+)\.conv1_a\.', r'body.\1.shrink_plain.'),
    (r'SCPA_trunk\.(\d+)\.conv1_b\.', r'body.\1.shrink_attentive.'),
    (r'SCPA_trunk\.(\d+)\.k1\.0\.', r'body.\1.plain.'),
    (r'SCPA_trunk\.(\d+)\.PAConv\.k2\.', r'body.\1.attentive.attention.'),
    (r'SCPA_trunk\.(\d+)\.PAConv\.k3\.', r'body.\1.attentive.conv1.'),
    (r'SCPA_trunk\.(\d+)\.PAConv\.k4\.', r'body.\1.attentive.conv2.'),
    (r'SCPA_trunk\.(\d+)\.conv3\.', r'body.\1.merge.'),
    (r'trunk_conv\.', 'conv_after_body.'),
    (r'upconv([12])\.', lambda m: f'upsampler.stages.{int(m[1]) - 1}.conv1.'),
    (r'att([12])\.', lambda m: f'upsampler.stages.{int(m[1]) - 1}.attention.'),
    (r'HRconv([12])\.', lambda m: f'upsampler.stages.{int(m[1]) - 1}.conv2.'),
    (r'conv_last\.', 'upsampler.conv_last.'),
]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options; ×2 and ×3 have the same shapes."""
    first, last = state_dict['conv_first.weight'], state_dict['upsampler.conv_last.weight']
    return {'upscale': 4 if 'upsampler.stages.1.conv1.weight' in state_dict else (2, 3),
            'num_in_ch': first.shape[1], 'num_out_ch': last.shape[0], 'num_feat': first.shape[0],
            'num_up_feat': last.shape[1], 'num_block': count(state_dict, r'body\.(\d+)\.')}


register_backbone(
    'PAN', PAN, defaults={'upscale': 4}, convert=renamer(PUBLIC_NAMES), split=split, split_blocks=SPLIT_BLOCKS,
    skips=units_of(SCPA),
    divide=divider(r'body\.(\d+)\.', ['upsampler.']),
    identify=identifier(read_options, ['conv_first.weight', 'body.0.attentive.attention.weight',
                                       'upsampler.conv_last.weight'], PUBLIC_NAMES),
    source='Zhao et al., Efficient Image Super-Resolution Using Pixel Attention, ECCV workshops 2020')
