"""EDSR: Enhanced Deep Residual Networks (Lim et al., CVPR workshops 2017), BasicSR's with published defaults."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from basicsr.archs import edsr_arch
from basicsr.archs.arch_util import ResidualBlockNoBN

from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, shuffle_scale
from basicsr_amsr.backbones.layers import check_upscale
from basicsr_amsr.backbones.mean_shift import DIV2K_MEAN, TAIL_NAMES, ShiftedNetwork, mean_dropper
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone


class EDSR(ShiftedNetwork, edsr_arch.EDSR):
    """BasicSR's EDSR with the published defaults: 32 blocks of 256 channels, residuals scaled by 0.1.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body. num_block: residual blocks. res_scale: weight of each block's residual.
        img_range, rgb_mean: inside, images are (x − rgb_mean) · img_range.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 256,
                 num_block: int = 32, res_scale: float = 0.1, img_range: float = 255.0,
                 rgb_mean: Sequence[float] = DIV2K_MEAN) -> None:
        check_upscale('EDSR', upscale)
        super().__init__(num_in_ch, num_out_ch, num_feat, num_block, upscale, res_scale, img_range)
        self.set_mean(rgb_mean, num_in_ch)


# The authors' PyTorch code (rgb range 255, as here).
PUBLIC_NAMES: list[Rule] = [
    (r'head\.0\.', 'conv_first.'),
    (r'body\.(\d+)\.body\.0\.', r'body.\1.conv1.'),
    (r'body\.(\d+)\.body\.2\.', r'body.\1.conv2.'),
    (r'body\.(\d+)\.(weight|bias)', r'conv_after_body.\2'),
    *TAIL_NAMES,
]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options that shapes tell."""
    first = state_dict['conv_first.weight']
    return {'upscale': shuffle_scale(state_dict, 'upsample.0.weight', 'upsample.2.weight', first.shape[0]),
            'num_in_ch': first.shape[1], 'num_out_ch': state_dict['conv_last.weight'].shape[0],
            'num_feat': first.shape[0], 'num_block': count(state_dict, r'body\.(\d+)\.')}


for _name, _defaults, _split_blocks in (
    ('EDSR', {'upscale': 4}, (24, 8)),
    ('EDSR_baseline', {'upscale': 4, 'num_feat': 64, 'num_block': 16, 'res_scale': 1.0}, (12, 4)),
):
    register_backbone(
        _name, EDSR, defaults=_defaults, body='body', tail='upsample', split_blocks=_split_blocks,
        convert=mean_dropper(PUBLIC_NAMES), classes=(EDSR, edsr_arch.EDSR), skips=units_of(ResidualBlockNoBN),
        identify=identifier(read_options, ['conv_first.weight', 'body.0.conv1.weight', 'upsample.0.weight',
                                           'conv_last.weight'], PUBLIC_NAMES),
        source='Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPR workshops 2017')
