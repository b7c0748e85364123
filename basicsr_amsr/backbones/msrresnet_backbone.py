"""MSRResNet: BasicSR's SRResNet without batch normalisation, with a bilinear skip."""
from __future__ import annotations

from typing import Any

from basicsr.archs.arch_util import ResidualBlockNoBN
from basicsr.archs.srresnet_arch import MSRResNet

from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, renamer, shuffle_scale
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone

# Names before BasicSR renamed them.
PUBLIC_NAMES: list[Rule] = [(r'recon_trunk\.', 'body.'), (r'HRconv\.', 'conv_hr.')]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options."""
    first = state_dict['conv_first.weight']
    return {'upscale': shuffle_scale(state_dict, 'upconv1.weight', 'upconv2.weight', first.shape[0]),
            'num_in_ch': first.shape[1], 'num_out_ch': state_dict['conv_last.weight'].shape[0],
            'num_feat': first.shape[0], 'num_block': count(state_dict, r'body\.(\d+)\.')}


register_backbone(
    'MSRResNet', MSRResNet, defaults={'upscale': 4}, origin=__name__, convert=renamer(PUBLIC_NAMES),
    body='body', tail='upconv1', split_blocks=(12, 4), skips=units_of(ResidualBlockNoBN),
    identify=identifier(read_options, ['conv_first.weight', 'body.0.conv1.weight', 'upconv1.weight', 'conv_hr.weight',
                                       'conv_last.weight'], PUBLIC_NAMES),
    source='Ledig et al., Photo-Realistic Single Image Super-Resolution Using a GAN, CVPR 2017; BasicSR')
