"""The tutorial docs/own_backbone.md: its code runs, and its networks obey MGA's invariants."""
import re
from pathlib import Path

import pytest
import torch
import yaml

from basicsr_amsr import UserError
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.start import start_from_backbone
from basicsr_amsr.registry import BACKBONE_REGISTRY

TEXT = (Path(__file__).resolve().parents[1] / 'docs' / 'own_backbone.md').read_text(encoding='utf-8')


def blocks(language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', TEXT, re.DOTALL)


@pytest.fixture(scope='module')
def names():
    """What the tutorial's code defines, run once: networks, then the registered backbone, then the written split."""
    _, network, registered, written = blocks('python')  # the first one is tests/test_newcomer.py in short
    names: dict = {'__name__': 'own_backbone'}
    exec(network, names)
    options = yaml.safe_load(blocks('yaml')[0])['network_g']
    assert options.pop('type') == 'MGA'
    assert 'MixerSR' not in BACKBONE_REGISTRY
    torch.manual_seed(0)
    names['by_options'] = MGA(**options)
    exec(registered, names)
    exec(written, names)
    return names


def check_invariants(net):
    net.eval()
    for size in ((1, 1), (9, 14), (32, 24)):
        x = torch.rand(2, 3, *size)
        net.set_variant('B')
        coarse = net(x)
        net.set_variant('A')
        whole = net(x)
        net.set_variant('M')
        net.k = 10_000
        assert torch.equal(net(x), whole)
        net.k = 0
        assert torch.equal(net(x), coarse)
        assert coarse.shape == (2, 3, size[0] * net.scale, size[1] * net.scale)


@torch.no_grad()
def test_the_network_in_the_option_file_is_cut(names):
    net = names['by_options']
    assert (len(net.base.body), len(net.refine.body)) == (6, 2)
    check_invariants(net)


@torch.no_grad()
def test_the_registered_backbone_needs_no_cut(names, tmp_path):
    net = MGA({'type': 'MixerSR', 'upscale': 3})
    assert (len(net.base.body), len(net.refine.body)) == (6, 2)
    assert 'mga' in get_backbone('MixerSR').methods
    check_invariants(net)
    plain = names['MixerSR'](upscale=3).eval()
    torch.save({'params': plain.state_dict()}, tmp_path / 'net_g_latest.pth')
    new = start_from_backbone(net, tmp_path / 'net_g_latest.pth')
    assert new == [f'refine.conv.{conv}.{kind}' for conv in ('conv1', 'conv2') for kind in ('weight', 'bias')]
    x = torch.rand(1, 3, 8, 9)
    net.set_variant('B')
    del plain.layers[6:]
    assert torch.allclose(net(x), plain(x), atol=1e-6)


@torch.no_grad()
def test_the_split_that_is_written_by_hand(names):
    check_invariants(MGA({'type': 'DenseSR', 'upscale': 2}))


def test_what_the_page_says_cannot_be_cut_by_name_cannot(names):
    with pytest.raises(UserError, match='no plain chain'):
        MGA({'type': 'DenseSR', 'upscale': 2}, cut={'body': 'body.blocks', 'tail': 'up'}, split_blocks=[3, 1])
