"""DAT (Chen et al., Dual Aggregation Transformer, ICCV 2023): spandrel's, with the options of its light model."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from basicsr_amsr.backbones.keys import StateDict, count, identifier, window_upsampler
from basicsr_amsr.backbones.layers import check_upscale
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.errors import UserError

FIRST = 'layers.0.blocks.0.attn.attns.0.rpe_biases'


def DAT(upscale: int = 4, num_in_ch: int = 3, embed_dim: int = 60, depth: Sequence[int] = (18,),
        num_heads: Sequence[int] = (6,), split_size: Sequence[int] = (8, 32), expansion_factor: float = 2.0,
        resi_connection: Literal['1conv', '3conv'] = '3conv',
        upsampler: Literal['pixelshuffle', 'pixelshuffledirect'] = 'pixelshuffledirect', img_size: int = 64,
        drop_path_rate: float = 0.1) -> nn.Module:
    """spandrel's DAT; the defaults are those of DAT-light.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch: image channels.
        embed_dim: channels of the body. depth: blocks of each group. num_heads: attention heads of each group.
        split_size: sides of the attention windows, in tokens.
        expansion_factor: width of the MLPs over embed_dim.
        resi_connection: one convolution behind each group, or three narrow ones.
        upsampler: 'pixelshuffle' or 'pixelshuffledirect' (light).
        img_size: image side that attention masks are kept for; others are made when needed.
        drop_path_rate: share of blocks skipped at random in training.

    Raises:
        UserError: spandrel is not installed.
    """
    try:
        from spandrel.architectures.DAT import DAT as Network
    except ModuleNotFoundError as error:
        raise UserError("DAT is a network of spandrel's: pip install spandrel, and try again.") from error
    check_upscale('DAT', upscale)
    return Network(upscale=upscale, in_chans=num_in_ch, embed_dim=embed_dim, depth=list(depth),
                   num_heads=list(num_heads), split_size=list(split_size), expansion_factor=expansion_factor,
                   resi_connection=resi_connection, upsampler=upsampler, img_size=img_size,
                   drop_path_rate=drop_path_rate)


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options that shapes and constants tell."""
    first = state_dict['conv_first.weight']
    groups = range(count(state_dict, r'layers\.(\d+)\.'))
    scale, upsampler = window_upsampler(state_dict)
    kept = next((value for key, value in state_dict.items() if key.endswith('attn_mask_0')), None)
    sides = {} if kept is None else {'img_size': math.isqrt(kept.shape[0] * kept.shape[1])}
    return {
        **sides, 'upscale': scale, 'num_in_ch': first.shape[1], 'embed_dim': first.shape[0],
        'depth': [count(state_dict, rf'layers\.{i}\.blocks\.(\d+)\.') for i in groups],
        'num_heads': [2 * state_dict[f'layers.{i}.blocks.0.attn.attns.0.pos.pos3.2.weight'].shape[0] for i in groups],
        'split_size': [int(side) + 1 for side in state_dict[FIRST][-1]],
        'expansion_factor': state_dict['layers.0.blocks.0.ffn.fc1.weight'].shape[0] / first.shape[0],
        'resi_connection': '1conv' if 'conv_after_body.weight' in state_dict else '3conv',
        'upsampler': upsampler}


register_backbone(
    'DAT', build=DAT, identify=identifier(read_options, ['conv_first.weight', 'before_RG.1.weight', FIRST]),
    defaults={'upscale': 4}, source='Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023')
