"""SwinIR (Liang et al., ICCV workshops 2021): BasicSR's, with published defaults and for images of any size."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from basicsr.archs import swinir_arch

from basicsr_amsr.backbones.keys import StateDict, count, identifier, window_upsampler
from basicsr_amsr.backbones.layers import check_upscale
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.backbones.swinir_attention import WindowAttention
from basicsr_amsr.backbones.swinir_skips import skips
from basicsr_amsr.compat.swinir import check_heads, padded_to_windows, whole_windows
from basicsr_amsr.errors import UserError

WINDOW = 8
BIAS_TABLE = 'layers.0.residual_group.blocks.0.attn.relative_position_bias_table'


class SwinIR(swinir_arch.SwinIR):
    """BasicSR's SwinIR with the published defaults of classical super-resolution (`SwinIR_light`: of the light one).

    Images whose height or width is no multiple of the window are padded by reflection, and the result is cropped.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch: image channels.
        embed_dim: channels of the body. depths: layers of each block. num_heads: attention heads of each block.
        window_size: side of the attention windows. mlp_ratio: width of the MLPs over embed_dim.
        upsampler: 'pixelshuffle' or 'pixelshuffledirect' (light).
        drop_path_rate: share of layers skipped at random in training.
        img_range: inside, images are (x − mean) · img_range.
        img_size: image side that attention masks are prepared for; others are made when needed.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, embed_dim: int = 180,
                 depths: Sequence[int] = (6, 6, 6, 6, 6, 6), num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
                 window_size: int = WINDOW, mlp_ratio: float = 2.0, upsampler: str = 'pixelshuffle',
                 drop_path_rate: float = 0.1, img_range: float = 1.0, img_size: int = 64) -> None:
        check_upscale('SwinIR', upscale)
        if upsampler not in ('pixelshuffle', 'pixelshuffledirect'):
            raise UserError(f"SwinIR: upsampler '{upsampler}' is unknown: take pixelshuffle or pixelshuffledirect.")
        check_heads(embed_dim, depths, num_heads)
        super().__init__(
            img_size=whole_windows(img_size, window_size), in_chans=num_in_ch, embed_dim=embed_dim, depths=depths,
            num_heads=num_heads, window_size=window_size, mlp_ratio=mlp_ratio, drop_path_rate=drop_path_rate,
            upscale=upscale, img_range=img_range, upsampler=upsampler)
        for module in self.modules():
            if isinstance(module, swinir_arch.WindowAttention):
                module.__class__ = WindowAttention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) in 0–1 of any size, `upscale` times as large."""
        return padded_to_windows(x, self.window_size, super().forward)


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options that shapes tell."""
    first, table = state_dict['conv_first.weight'], state_dict[BIAS_TABLE]
    blocks = range(count(state_dict, r'layers\.(\d+)\.'))
    scale, upsampler = window_upsampler(state_dict)
    return {
        'upscale': scale, 'num_in_ch': first.shape[1], 'embed_dim': first.shape[0],
        'depths': [count(state_dict, rf'layers\.{i}\.residual_group\.blocks\.(\d+)\.') for i in blocks],
        'num_heads': [state_dict[BIAS_TABLE.replace('layers.0', f'layers.{i}')].shape[1] for i in blocks],
        'window_size': (math.isqrt(table.shape[0]) + 1) // 2,
        'upsampler': upsampler}


_DEFAULTS: dict[str, dict[str, object]] = {
    'SwinIR': {'upscale': 4},
    'SwinIR_light': {'upscale': 4, 'embed_dim': 60, 'depths': (6, 6, 6, 6), 'num_heads': (6, 6, 6, 6),
                     'upsampler': 'pixelshuffledirect'},
}
for _name, _defaults in _DEFAULTS.items():
    register_backbone(
        _name, SwinIR, defaults=_defaults, size_multiple=WINDOW, derived=('attn_mask', 'relative_position_index'),
        identify=identifier(read_options, ['conv_first.weight', BIAS_TABLE, 'upsample.0.weight']),
        classes=(SwinIR, swinir_arch.SwinIR), skips=skips,
        source='Liang et al., SwinIR: Image Restoration Using Swin Transformer, ICCV workshops 2021')
