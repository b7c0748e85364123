"""FSRCNN: Accelerating the Super-Resolution Convolutional Neural Network (Dong et al., ECCV 2016), for RGB."""
from __future__ import annotations

from typing import Any, cast

import torch
from basicsr.archs.arch_util import default_init_weights
from torch import nn

from basicsr_amsr.backbones.division import divider
from basicsr_amsr.backbones.keys import StateDict, count, identifier, rename
from basicsr_amsr.backbones.layers import HaloConvs, check_upscale
from basicsr_amsr.backbones.skips import SkipLayers
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.backbones.split import MGASplit
from basicsr_amsr.execution.transposed import transposed_convolution

SPLIT_BLOCKS = (3, 1)
PRELU = 0.25  # the slope that it starts with, for which convolutions are initialised (He et al., ICCV 2015)


class Mapping(nn.Sequential):
    """Mapping layers."""

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Let all layers hand on their input: a PReLU of slope 1 does."""
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight)
                nn.init.zeros_(cast(torch.Tensor, layer.bias))
            else:
                nn.init.ones_(cast(torch.Tensor, layer.weight))


def mapping(num_shrink: int, num_block: int) -> Mapping:
    """The m mapping layers: 3×3 convolution and PReLU."""
    layers: list[nn.Module] = []
    for _ in range(num_block):
        layers += [nn.Conv2d(num_shrink, num_shrink, 3, 1, 1), nn.PReLU(num_shrink)]
    return Mapping(*layers)


class Deconvolution(nn.Module):
    """Expansion and the 9×9 transposed convolution: (N, s, H, W) to (N, channels, upscale·H, upscale·W)."""

    def __init__(self, upscale: int, num_out_ch: int, num_feat: int, num_shrink: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(num_shrink, num_feat, 1), nn.PReLU(num_feat))
        self.deconv = nn.ConvTranspose2d(num_feat, num_out_ch, 9, upscale, 4, output_padding=upscale - 1)
        nn.init.normal_(self.deconv.weight, std=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return transposed_convolution(self.deconv, self.expand(x))


class FSRCNN(nn.Module):
    """FSRCNN(d, s, m), on RGB as in MGA instead of luminance.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: d. num_shrink: s. num_block: m, the mapping layers.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 56,
                 num_shrink: int = 12, num_block: int = 4) -> None:
        super().__init__()
        check_upscale('FSRCNN', upscale)
        self.feature = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 5, 1, 2), nn.PReLU(num_feat))
        self.shrink = nn.Sequential(nn.Conv2d(num_feat, num_shrink, 1), nn.PReLU(num_shrink))
        self.mapping = mapping(num_shrink, num_block)
        self.upsampler = Deconvolution(upscale, num_out_ch, num_feat, num_shrink)
        default_init_weights(self, a=PRELU)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to the shrunk feature (N, s, H, W)."""
        return self.mapping(self.shrink(self.feature(x)))

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Feature (N, s, H, W) to the image (N, C, upscale·H, upscale·W) in 0–1; `x` is not looked at."""
        return self.upsampler(feature)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)


class FSRCNNRefine(nn.Module):
    """MGA's refine net of FSRCNN: mapping, two convolutions, expansion and transposed convolution of its own."""

    def __init__(self, upscale: int = 4, num_out_ch: int = 3, num_feat: int = 56, num_shrink: int = 12,
                 num_block: int = 1) -> None:
        super().__init__()
        self.mapping = mapping(num_shrink, num_block)
        self.conv = HaloConvs(num_shrink)
        self.upsampler = Deconvolution(upscale, num_out_ch, num_feat, num_shrink)
        default_init_weights(self, a=PRELU)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, s, h + 2, w + 2), or (N, s, h, w) without halo, to (N, C, upscale·h, upscale·w) in 0–1."""
        return self.upsampler(self.conv(self.mapping(x), halo))


def split(base_blocks: int = SPLIT_BLOCKS[0], refine_blocks: int = SPLIT_BLOCKS[1], upscale: int = 4,
          num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 56, num_shrink: int = 12) -> MGASplit:
    """Base net with `base_blocks` mapping layers, refine net with `refine_blocks` (paper: 3 + 1)."""
    return MGASplit(
        base=FSRCNN(upscale, num_in_ch, num_out_ch, num_feat, num_shrink, base_blocks),
        refine=FSRCNNRefine(upscale, num_out_ch, num_feat, num_shrink, refine_blocks),
        num_feat=num_shrink)


def convert(state_dict: StateDict, net: nn.Module | None = None) -> StateDict:
    """Accepts the names of public PyTorch versions: first_part, mid_part (shrink to expand), last_part."""
    numbered = [int(key.split('.')[1]) for key in state_dict if key.startswith('mid_part.')]
    if not numbered:
        return state_dict
    layers = max(numbered) + 1
    return rename(state_dict, [
        (r'first_part\.', 'feature.'),
        (r'last_part\.', 'upsampler.deconv.'),
        (r'mid_part\.([01])\.', r'shrink.\1.'),
        (rf'mid_part\.({layers - 2}|{layers - 1})\.', lambda m: f'upsampler.expand.{int(m[1]) - layers + 2}.'),
        (r'mid_part\.(\d+)\.', lambda m: f'mapping.{int(m[1]) - 2}.'),
    ])


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """All options but `upscale`, which leaves no trace in the shapes."""
    first = state_dict['feature.0.weight']
    return {'num_in_ch': first.shape[1], 'num_out_ch': state_dict['upsampler.deconv.weight'].shape[1],
            'num_feat': first.shape[0], 'num_shrink': state_dict['shrink.0.weight'].shape[0],
            'num_block': count(state_dict, r'mapping\.(\d+)\.') // 2}


register_backbone(
    'FSRCNN', FSRCNN, defaults={'upscale': 4}, convert=convert,
    identify=lambda state: identifier(read_options, ['feature.0.weight', 'shrink.0.weight',
                                                         'upsampler.deconv.weight'])(convert(state)),
    split=split, split_blocks=SPLIT_BLOCKS, skips=lambda net: {'mapping': SkipLayers(net.mapping)},
    divide=divider(r'mapping\.(\d+)\.', ['upsampler.'], layers=2),
    source='Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016')
