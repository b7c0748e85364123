"""SRVGGNetCompact: Real-ESRGAN's compact networks (Wang et al., ICCV workshops 2021), BasicSR's."""
from __future__ import annotations

import math
from typing import Any

from basicsr.archs.srvgg_arch import SRVGGNetCompact

from basicsr_amsr.backbones.keys import StateDict, count, identifier
from basicsr_amsr.backbones.spec import register_backbone

SCALES = (2, 3, 4)
LAYER = r'body\.(\d+)\.'


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options. Layers are numbered through: a convolution, its activation, with weights where it is a PReLU."""
    first = state_dict['body.0.weight']
    channels, last = first.shape[1], max(int(key.split('.')[1]) for key in state_dict if key.startswith('body.'))
    found = {'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': first.shape[0], 'num_conv': last // 2 - 1,
             'upscale': math.isqrt(state_dict[f'body.{last}.weight'].shape[0] // channels),
             'act_type': 'prelu' if 'body.1.weight' in state_dict else ('relu', 'leakyrelu')}
    own = count(state_dict, LAYER) == (last + 1 if found['act_type'] == 'prelu' else last // 2 + 1)
    return found if own and found['upscale'] in SCALES and all(key.startswith('body.') for key in state_dict) else {}


register_backbone(
    'SRVGGNetCompact', SRVGGNetCompact, defaults={'upscale': 4}, origin=__name__, scales=SCALES,
    identify=identifier(read_options, ['body.0.weight']),
    source='Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, ICCV '
           'workshops 2021')
