"""Agreement with mmengine and thop on convolutions and linear layers, and every difference named."""
import warnings

import pytest
import thop
import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from mmengine.analysis import get_model_complexity_info
from torch import nn

from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.profiling.peers import CONVOLUTION, LINEAR, TRANSPOSED, compare, parse_peers
from tests.backbones.tiny import CASES, network

BOTH = ['mmengine', 'thop']
BASICSR = {
    'EDSR': {'num_feat': 8, 'num_block': 2}, 'RCAN': {'num_feat': 8, 'num_group': 1, 'num_block': 1,
                                                      'squeeze_factor': 2},
    'MSRResNet': {'num_feat': 8, 'num_block': 1}, 'RRDBNet': {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
    'SwinIR': {'embed_dim': 8, 'depths': (2,), 'num_heads': (2,), 'window_size': 4, 'img_size': 16, 'upscale': 2},
    'SRVGGNetCompact': {'num_feat': 8, 'num_conv': 2},
}
CHANNELS = {'EDSR': {'num_in_ch': 3, 'num_out_ch': 3}, 'RCAN': {'num_in_ch': 3, 'num_out_ch': 3},
            'RRDBNet': {'num_in_ch': 3, 'num_out_ch': 3}}


def compared(net, x):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return compare(net, count(net, x), x, BOTH)


def agreed(net, x):
    """The comparison, where all three agree on convolutions and linear layers and the rest says why not."""
    result = compared(net, x)
    for kind in (CONVOLUTION, LINEAR):
        if kind in result['kinds']:
            assert len(set(result['kinds'][kind]['macs'].values())) == 1, kind
    for row in result['kinds'].values():
        ours = row['macs']['basicsr_amsr']
        assert {name for name in BOTH if row['macs'][name] != ours} == row['why'].keys()
        assert 'its own rule' not in row['why'].values()
    # Their own entry points, untouched; without gradients, as ours.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert get_model_complexity_info(net, inputs=(x,), show_table=False, show_arch=False)['flops'] == (
            result['totals']['mmengine'])
        assert round(thop.profile(net, (x,), verbose=False)[0]) == result['totals']['thop']
    assert count(net, x).macs == result['totals']['basicsr_amsr']
    return result


@pytest.mark.parametrize('name, scale', CASES)
def test_our_backbones(name, scale):
    net = network(name, scale)
    x = torch.rand(2, get_backbone(name).channels, 16, 24)
    kinds = agreed(net, x)['kinds']
    assert kinds[CONVOLUTION]['macs']['basicsr_amsr'] > 0
    assert (LINEAR in kinds) == name.startswith(('SwinIR', 'DAT')) and (TRANSPOSED in kinds) == (name == 'FSRCNN')


@pytest.mark.parametrize('name', BASICSR)
def test_basicsr_networks(name):
    net = ARCH_REGISTRY.get(name)(**BASICSR[name], **CHANNELS.get(name, {})).eval()
    agreed(net, torch.rand(1, 3, 16, 24))


@pytest.mark.parametrize('name, scale', CASES)
def test_activations_are_those_that_hooks_on_convolutions_see(name, scale):
    net = network(name, scale)
    seen = []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(lambda module, args, output: seen.append(output.numel()))
    result = count(net, torch.rand(1, get_backbone(name).channels, 16, 24))
    assert (result.activations, result.convolutions) == (sum(seen), len(seen))


def test_mga_with_its_real_mask():
    net = MGA({'type': 'FSRCNN', 'upscale': 4, 'num_feat': 6, 'num_shrink': 4}, k=5).eval()
    result = compared(net, torch.rand(1, 3, 16, 24))
    assert result['kinds'][CONVOLUTION]['macs']['basicsr_amsr'] == result['kinds'][CONVOLUTION]['macs']['mmengine']
    assert not any('total_ops' in name for name in net.state_dict())


class Derived(nn.Conv2d):
    """thop knows exact classes only."""


class Shared(nn.Module):
    """Everything that the three count differently."""

    def __init__(self):
        super().__init__()
        self.conv = Derived(4, 4, 1)
        linear = nn.Linear(6, 6, bias=False)
        self.first, self.second = nn.Sequential(linear), nn.Sequential(linear)

    def forward(self, x):
        return F.scaled_dot_product_attention(*[F.conv2d(self.second(self.conv(x)), self.conv.weight)] * 3)


def test_differences_by_hand():
    x = torch.rand(1, 4, 5, 6)
    kinds = compared(Shared(), x)['kinds']
    conv, linear = 4 * 4 * 30, 4 * 5 * 6 * 6
    assert kinds[CONVOLUTION]['macs'] == {'basicsr_amsr': 2 * conv, 'mmengine': 2 * conv, 'thop': 0}
    assert kinds[LINEAR]['macs'] == {'basicsr_amsr': linear, 'mmengine': linear, 'thop': 2 * linear}
    assert kinds['modules used twice']['macs'] == {'basicsr_amsr': 0, 'mmengine': 0, 'thop': 2 * linear}
    assert kinds['attention']['macs'] == {'basicsr_amsr': 4 * 5 * 5 * 12, 'mmengine': 0, 'thop': 0}
    assert 'scaled_dot_product_attention' in kinds['attention']['why']['mmengine']


def test_transposed_convolution_of_thop_is_at_the_output():
    kinds = compared(nn.ConvTranspose2d(4, 6, 9, 4, 4, 3, bias=False), torch.rand(1, 4, 5, 6))['kinds']
    size = 4 * 6 * 81
    assert kinds[TRANSPOSED]['macs'] == {'basicsr_amsr': 30 * size, 'mmengine': 30 * size, 'thop': 480 * size}
    assert kinds[TRANSPOSED]['why'] == {'thop': 'it counts at the output size'}


def test_mmengine_leaves_out_what_nothing_depends_on():
    class Idle(nn.Conv2d):
        def forward(self, x):
            super().forward(x)
            return super().forward(x + 1)

    row = compared(Idle(4, 4, 1), torch.rand(1, 4, 5, 6))['kinds'][CONVOLUTION]
    assert (row['macs']['basicsr_amsr'], row['macs']['mmengine']) == (2 * 480, 480)
    assert 'does not depend on' in row['why']['mmengine']


def test_counters_are_named():
    assert parse_peers('thop, mmengine,thop') == ['thop', 'mmengine']
    with pytest.raises(UserError, match=r"--compare 'thob' is unknown\. Did you mean thop"):
        parse_peers('thob')
