"""RCAN: Very Deep Residual Channel Attention Networks (Zhang et al., ECCV 2018), BasicSR's with published defaults."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from basicsr.archs import rcan_arch
from basicsr.archs.arch_util import Upsample, make_layer
from torch import nn

from basicsr_amsr.backbones.division import divider
from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, shuffle_scale
from basicsr_amsr.backbones.layers import HaloConvs, check_upscale
from basicsr_amsr.backbones.mean_shift import DIV2K_MEAN, TAIL_NAMES, ShiftedNetwork, channel_mean, mean_dropper
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.backbones.split import MGASplit

SPLIT_BLOCKS = (7, 3)


class RCAN(ShiftedNetwork, rcan_arch.RCAN):
    """BasicSR's RCAN with the published defaults: 10 groups of 20 blocks, squeeze factor 16.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body. num_group: residual groups. num_block: blocks in each of them.
        squeeze_factor: of channel attention. res_scale: weight of each block's residual.
        img_range, rgb_mean: inside, images are (x − rgb_mean) · img_range.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64,
                 num_group: int = 10, num_block: int = 20, squeeze_factor: int = 16, res_scale: float = 1.0,
                 img_range: float = 255.0, rgb_mean: Sequence[float] = DIV2K_MEAN) -> None:
        check_upscale('RCAN', upscale)
        super().__init__(num_in_ch, num_out_ch, num_feat, num_group, num_block, squeeze_factor, upscale, res_scale,
                         img_range)
        self.set_mean(rgb_mean, num_in_ch)


class RCANRefine(nn.Module):
    """MGA's refine net of RCAN: residual groups and a convolution with a long skip, two convolutions, upsampler.

    Channel attention pools over what it is given: over a patch, or over the whole map.
    """

    mean: torch.Tensor

    def __init__(self, upscale: int = 4, num_out_ch: int = 3, num_feat: int = 64, num_group: int = 3,
                 num_block: int = 20, squeeze_factor: int = 16, res_scale: float = 1.0, img_range: float = 255.0,
                 rgb_mean: Sequence[float] = DIV2K_MEAN) -> None:
        super().__init__()
        self.img_range = img_range
        self.register_buffer('mean', channel_mean(rgb_mean, num_out_ch), persistent=False)
        self.body = make_layer(rcan_arch.ResidualGroup, num_group, num_feat=num_feat, num_block=num_block,
                               squeeze_factor=squeeze_factor, res_scale=res_scale)
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv = HaloConvs(num_feat)
        self.upsample = Upsample(upscale, num_feat)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, channels, upscale·h, upscale·w) in 0–1."""
        x = self.conv(self.conv_after_body(self.body(x)) + x, halo)
        return self.conv_last(self.upsample(x)) / self.img_range + self.mean


def split(base_blocks: int = SPLIT_BLOCKS[0], refine_blocks: int = SPLIT_BLOCKS[1], upscale: int = 4,
          num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 20, squeeze_factor: int = 16,
          res_scale: float = 1.0, img_range: float = 255.0, rgb_mean: Sequence[float] = DIV2K_MEAN) -> MGASplit:
    """Base net with `base_blocks` residual groups, refine net with `refine_blocks` (paper: 7 + 3, of 20 blocks)."""
    shared = (num_block, squeeze_factor, res_scale, img_range, rgb_mean)
    return MGASplit(
        base=RCAN(upscale, num_in_ch, num_out_ch, num_feat, base_blocks, *shared),
        refine=RCANRefine(upscale, num_out_ch, num_feat, refine_blocks, *shared),
        num_feat=num_feat)


# The authors' PyTorch code (rgb range 255, as here).
PUBLIC_NAMES: list[Rule] = [
    (r'head\.0\.', 'conv_first.'),
    (r'body\.(\d+)\.body\.(\d+)\.body\.([02])\.', r'body.\1.residual_group.\2.rcab.\3.'),
    (r'body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.0\.', r'body.\1.residual_group.\2.rcab.3.attention.1.'),
    (r'body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.2\.', r'body.\1.residual_group.\2.rcab.3.attention.3.'),
    (r'body\.(\d+)\.body\.(\d+)\.(weight|bias)', r'body.\1.conv.\3'),
    (r'body\.(\d+)\.(weight|bias)', r'conv_after_body.\2'),
    *TAIL_NAMES,
]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options that shapes tell."""
    first = state_dict['conv_first.weight']
    squeezed = state_dict['body.0.residual_group.0.rcab.3.attention.1.weight'].shape[0]
    return {'upscale': shuffle_scale(state_dict, 'upsample.0.weight', 'upsample.2.weight', first.shape[0]),
            'num_in_ch': first.shape[1], 'num_out_ch': state_dict['conv_last.weight'].shape[0],
            'num_feat': first.shape[0], 'num_group': count(state_dict, r'body\.(\d+)\.'),
            'num_block': count(state_dict, r'body\.0\.residual_group\.(\d+)\.'),
            'squeeze_factor': first.shape[0] // squeezed}


register_backbone(
    'RCAN', RCAN, defaults={'upscale': 4}, convert=mean_dropper(PUBLIC_NAMES), split=split, split_blocks=SPLIT_BLOCKS,
    blocks='num_group', divide=divider(r'body\.(\d+)\.', ['upsample.', 'conv_last.']),
    identify=identifier(read_options, ['conv_first.weight', 'body.0.residual_group.0.rcab.3.attention.1.weight',
                                       'upsample.0.weight', 'conv_last.weight'], PUBLIC_NAMES),
    classes=(RCAN, rcan_arch.RCAN), skips=units_of(rcan_arch.RCAB),
    source='Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention Networks, ECCV 2018')
