"""RFDN: Residual Feature Distillation Network for Lightweight Image Super-Resolution (Liu et al., ECCVW 2020)."""
from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.backbones.division import divider
from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, renamer
from basicsr_amsr.backbones.layers import HaloConvs, check_upscale
from basicsr_amsr.backbones.rfdn_skips import skips
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.backbones.split import MGASplit

SPLIT_BLOCKS = (4, 2)
# The public weights were trained on images in 0–255.
RANGE = 255.0
POOL_SIZE, POOL_STRIDE = 7, 3


class ESA(nn.Module):
    """Enhanced spatial attention (Liu et al., RFANet, section 3.3), as RFDN uses it.

    The max-pooling is left out where `pool` is False, as in MGA's refine net (whose patches it would not fit; D with it
    would cost 0.25 % less than table 1 prints), and skipped where its input is smaller than its window. A map under
    3×3, too small for the strided convolution, is zero-padded to 3×3 for it.
    """

    def __init__(self, num_feat: int, pool: bool = True) -> None:
        super().__init__()
        self.pool = pool
        narrow = num_feat // 4
        self.conv1 = nn.Conv2d(num_feat, narrow, 1)
        self.conv_skip = nn.Conv2d(narrow, narrow, 1)
        self.conv_stride = nn.Conv2d(narrow, narrow, 3, 2)
        self.conv_group = nn.Sequential(
            nn.Conv2d(narrow, narrow, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(narrow, narrow, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(narrow, narrow, 3, 1, 1))
        self.conv_last = nn.Conv2d(narrow, num_feat, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow = self.conv1(x)
        return x * self.conv_last(self.overview(narrow) + self.conv_skip(narrow)).sigmoid()

    def overview(self, narrow: torch.Tensor) -> torch.Tensor:
        """A coarse summary of the whole image, enlarged to the size of the narrow feature."""
        height, width = narrow.shape[-2:]
        seen = narrow
        if min(height, width) < 3:
            seen = F.pad(seen, (0, max(3 - width, 0), 0, max(3 - height, 0)))
        seen = self.conv_stride(seen)
        if self.pool and min(seen.shape[-2:]) >= POOL_SIZE:
            seen = F.max_pool2d(seen, POOL_SIZE, POOL_STRIDE)
        return F.interpolate(self.conv_group(seen), (height, width), mode='bilinear', align_corners=False)


class RFDB(nn.Module):
    """Residual feature distillation block (section 3.2): at three steps half of the channels are set aside."""

    def __init__(self, num_feat: int, pool: bool = True) -> None:
        super().__init__()
        half = num_feat // 2
        self.distill = nn.ModuleList(nn.Conv2d(num_feat, half, 1) for _ in range(3))
        self.shallow = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, 1, 1) for _ in range(3))
        self.last = nn.Conv2d(num_feat, half, 3, 1, 1)
        self.fuse = nn.Conv2d(4 * half, num_feat, 1)
        self.esa = ESA(num_feat, pool)
        self.act = nn.LeakyReLU(0.05, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distilled = []
        for distill, shallow in zip(self.distill, self.shallow, strict=True):
            distilled.append(self.act(distill(x)))
            x = self.act(shallow(x) + x)
        distilled.append(self.act(self.last(x)))
        return self.esa(self.fuse(torch.cat(distilled, 1)))


class Distillation(nn.Module):
    """RFDB one after the other, all their outputs fused by 1×1 and 3×3 convolutions, without the long skip."""

    def __init__(self, num_feat: int, num_block: int, pool: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(RFDB(num_feat, pool) for _ in range(num_block))
        self.fuse = nn.Sequential(nn.Conv2d(num_feat * num_block, num_feat, 1), nn.LeakyReLU(0.05, inplace=True))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.conv(self.fuse(torch.cat(outputs, 1)))


def upsampler(upscale: int, num_feat: int, num_out_ch: int) -> nn.Sequential:
    """3×3 convolution and pixel shuffle: (N, C, H, W) to (N, channels, upscale·H, upscale·W)."""
    return nn.Sequential(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, 1, 1), nn.PixelShuffle(upscale))


class RFDN(nn.Module):
    """RFDN. Images are in 0–1 outside; inside they are scaled to 0–255, as the public weights want it.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body. num_block: RFDB.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 50,
                 num_block: int = 4) -> None:
        super().__init__()
        check_upscale('RFDN', upscale)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.body = Distillation(num_feat, num_block)
        self.upsampler = upsampler(upscale, num_feat, num_out_ch)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to feature (N, num_feat, H, W)."""
        feature = self.conv_first(x * RANGE)
        return self.body(feature) + feature

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Feature (N, num_feat, H, W) to the image (N, C, upscale·H, upscale·W) in 0–1; `x` is not looked at."""
        return self.upsampler(feature) / RANGE

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)


class RFDNRefine(nn.Module):
    """MGA's refine net of RFDN: RFDB, their fusion with a long skip, two convolutions, upsampler."""

    def __init__(self, upscale: int = 4, num_out_ch: int = 3, num_feat: int = 50, num_block: int = 2) -> None:
        super().__init__()
        self.body = Distillation(num_feat, num_block, pool=False)
        self.conv = HaloConvs(num_feat)
        self.upsampler = upsampler(upscale, num_feat, num_out_ch)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, channels, upscale·h, upscale·w) in 0–1."""
        return self.upsampler(self.conv(self.body(x) + x, halo)) / RANGE


def split(base_blocks: int = SPLIT_BLOCKS[0], refine_blocks: int = SPLIT_BLOCKS[1], upscale: int = 4,
          num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 50) -> MGASplit:
    """Base net with `base_blocks` RFDB (paper: the full RFDN with 4), refine net with `refine_blocks` (2)."""
    return MGASplit(
        base=RFDN(upscale, num_in_ch, num_out_ch, num_feat, base_blocks),
        refine=RFDNRefine(upscale, num_out_ch, num_feat, refine_blocks),
        num_feat=num_feat)


def divide(plain: StateDict, total: int, base_blocks: int) -> tuple[StateDict, StateDict]:
    """Base and refine net's weights; each part fuses the outputs of its own blocks.

    A new refine body starts by adding nothing: with the upsampler before the halo is gone, refining then leaves the
    image as it is, patch by patch as well.
    """
    base, refine = divider(r'body\.blocks\.(\d+)\.', ['upsampler.'])(plain, total, base_blocks)
    if total > base_blocks:
        fuse = 'body.fuse.0.weight'
        columns = base_blocks * plain[fuse].shape[0]
        base[fuse], refine[fuse] = plain[fuse][:, :columns], plain[fuse][:, columns:]
    else:
        refine.update({key: torch.zeros_like(plain[key]) for key in ('body.conv.weight', 'body.conv.bias')})
    refine.update(upsample_inside_halo(refine['upsampler.0.weight'], refine['upsampler.0.bias']))
    return base, refine


def upsample_inside_halo(weight: torch.Tensor, bias: torch.Tensor) -> StateDict:
    """The upsampler's convolution as the first one of `HaloConvs`, with nothing to do for what follows.

    In its own place it would see zeros around each patch. The LeakyReLU between changes only what is darker than
    black. Where the feature has fewer channels than the convolution puts out, it stays where it is.
    """
    outputs, num_feat = weight.shape[:2]
    if outputs > num_feat:
        return {}
    first, rest = torch.zeros_like(weight[:1]).expand(num_feat - outputs, -1, -1, -1), bias.new_zeros(num_feat)
    hand_on = nn.init.dirac_(weight.new_empty(num_feat, num_feat, 3, 3))
    return {'conv.conv1.weight': torch.cat([weight, first]), 'conv.conv1.bias': torch.cat([bias, rest[outputs:]]),
            'conv.conv2.weight': hand_on, 'conv.conv2.bias': rest,
            'upsampler.0.weight': hand_on[:outputs].clone(), 'upsampler.0.bias': torch.zeros_like(bias)}


PUBLIC_NAMES: list[Rule] = [
    (r'fea_conv\.', 'conv_first.'),
    (r'B(\d+)\.c([123])_d\.', lambda m: f'body.blocks.{int(m[1]) - 1}.distill.{int(m[2]) - 1}.'),
    (r'B(\d+)\.c([123])_r\.', lambda m: f'body.blocks.{int(m[1]) - 1}.shallow.{int(m[2]) - 1}.'),
    (r'B(\d+)\.c4\.', lambda m: f'body.blocks.{int(m[1]) - 1}.last.'),
    (r'B(\d+)\.c5\.', lambda m: f'body.blocks.{int(m[1]) - 1}.fuse.'),
    (r'B(\d+)\.esa\.conv_f\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv_skip.'),
    (r'B(\d+)\.esa\.conv2\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv_stride.'),
    (r'B(\d+)\.esa\.conv_max\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv_group.0.'),
    (r'B(\d+)\.esa\.conv3\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv_group.2.'),
    (r'B(\d+)\.esa\.conv3_\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv_group.4.'),
    (r'B(\d+)\.esa\.conv4\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv_last.'),
    (r'B(\d+)\.esa\.conv1\.', lambda m: f'body.blocks.{int(m[1]) - 1}.esa.conv1.'),
    (r'c\.0\.', 'body.fuse.0.'),
    (r'LR_conv\.', 'body.conv.'),
]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options. Images are taken to have as many channels going out as coming in."""
    first, last = state_dict['conv_first.weight'], state_dict['upsampler.0.weight']
    return {'upscale': math.isqrt(last.shape[0] // first.shape[1]), 'num_in_ch': first.shape[1],
            'num_feat': first.shape[0], 'num_block': count(state_dict, r'body\.blocks\.(\d+)\.')}


register_backbone(
    'RFDN', RFDN, defaults={'upscale': 4}, convert=renamer(PUBLIC_NAMES), split=split, split_blocks=SPLIT_BLOCKS,
    divide=divide, skips=skips,
    identify=identifier(read_options, ['conv_first.weight', 'body.blocks.0.esa.conv1.weight', 'upsampler.0.weight'],
                        PUBLIC_NAMES),
    source='Liu et al., Residual Feature Distillation Network for Lightweight Image Super-Resolution, ECCVW 2020')
