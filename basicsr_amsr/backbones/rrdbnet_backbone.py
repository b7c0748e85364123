"""RRDBNet: ESRGAN's generator (Wang et al., ECCV workshops 2018), BasicSR's with published defaults."""
from __future__ import annotations

from typing import Any

import torch
from basicsr.archs import rrdbnet_arch

from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, renamer
from basicsr_amsr.backbones.layers import check_upscale
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone
from basicsr_amsr.padding import pad_to_multiple

SCALES = (2, 4)


class RRDBNet(rrdbnet_arch.RRDBNet):
    """BasicSR's RRDBNet, with `upscale` for its `scale`. At ×2 it works on 2×2 blocks of pixels (Real-ESRGAN): images
    of odd height or width are padded by reflection.

    Args:
        upscale: 2 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body. num_block: RRDB. num_grow_ch: channels that each dense layer adds.
    """

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64,
                 num_block: int = 23, num_grow_ch: int = 32) -> None:
        super().__init__(num_in_ch, num_out_ch, check_upscale('RRDBNet', upscale, SCALES), num_feat, num_block,
                         num_grow_ch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to (N, C, upscale·H, upscale·W)."""
        if self.scale == 4:
            return super().forward(x)
        height, width = x.shape[-2:]
        x = super().forward(pad_to_multiple(x, 2))
        return x[..., :height * self.scale, :width * self.scale]


# The later, and the first, of the names that ESRGAN's authors published (these without their prefix `model.`).
PUBLIC_NAMES: list[Rule] = [
    (r'RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\.', r'body.\1.rdb\2.conv\3.'),
    (r'trunk_conv\.', 'conv_body.'),
    (r'upconv([12])\.', r'conv_up\1.'),
    (r'HRconv\.', 'conv_hr.'),
    (r'0\.', 'conv_first.'),
    (r'1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.', r'body.\1.rdb\2.conv\3.'),
    (r'1\.sub\.\d+\.(weight|bias)', r'conv_body.\1'),
    (r'3\.', 'conv_up1.'),
    (r'6\.', 'conv_up2.'),
    (r'8\.', 'conv_hr.'),
    (r'10\.', 'conv_last.'),
]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options. At ×2 four pixels enter as channels; images have as many channels coming in as going out."""
    first, last = state_dict['conv_first.weight'], state_dict['conv_last.weight']
    folded = first.shape[1] == 4 * last.shape[0]
    return {'upscale': 2 if folded else 4, 'num_in_ch': first.shape[1] // (4 if folded else 1),
            'num_out_ch': last.shape[0],
            'num_feat': first.shape[0], 'num_block': count(state_dict, r'body\.(\d+)\.'),
            'num_grow_ch': state_dict['body.0.rdb1.conv1.weight'].shape[0]}


register_backbone(
    'RRDBNet', RRDBNet, defaults={'upscale': 4}, scales=SCALES, convert=renamer(PUBLIC_NAMES),
    identify=identifier(read_options, ['conv_first.weight', 'body.0.rdb1.conv1.weight', 'conv_last.weight'],
                        PUBLIC_NAMES),
    classes=(RRDBNet, rrdbnet_arch.RRDBNet), size_multiple=2,
    skips=units_of(rrdbnet_arch.ResidualDenseBlock),
    source='Wang et al., ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks, ECCV workshops 2018')
