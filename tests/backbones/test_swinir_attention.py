"""Fused attention against BasicSR's own."""
import copy

import pytest
import torch
from basicsr.archs import swinir_arch
from torch import nn

from basicsr_amsr.backbones.swinir_attention import WindowAttention
from basicsr_amsr.profiling.macs import count
from tests.backbones.tiny import image, network


def plain(net):
    """The same network with BasicSR's attention."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, WindowAttention):
            module.__class__ = swinir_arch.WindowAttention
    return net


def attention(channels=12, heads=3):
    torch.manual_seed(0)
    module = swinir_arch.WindowAttention(channels, (4, 4), heads).eval()
    nn.init.normal_(module.relative_position_bias_table)  # as large as the scores
    fused = copy.deepcopy(module)
    fused.__class__ = WindowAttention
    return module, fused


@torch.no_grad()
@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('masked', [False, True])
def test_equals_basicsrs(batch, masked):
    module, fused = attention()
    x = torch.randn(batch * 5, 16, 12)
    mask = torch.where(torch.rand(5, 16, 16) < 0.3, -100.0, 0.0) if masked else None
    torch.testing.assert_close(fused(x, mask), module(x, mask), rtol=1e-5, atol=1e-5)
    counts = [count(each, x, mask) for each in (module, fused)]
    assert counts[0].macs == counts[1].macs and not counts[1].uncounted
    assert any('scaled_dot_product' in name for name in counts[1].by_op)


def test_with_gradients_it_is_basicsrs_to_the_bit():
    module, fused = attention()
    x = torch.randn(5, 16, 12)
    for each in (module, fused):
        each(x).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(module.parameters(), fused.parameters(), strict=True))
    assert torch.equal(module(x), fused(x))


@torch.no_grad()
@pytest.mark.parametrize('name', ['SwinIR', 'SwinIR_light'])
def test_whole_networks_keep_their_keys_and_images(name):
    net, x = network(name, 2), image(2, 3, 13, 18)
    own = plain(net)
    assert list(own.state_dict()) == list(net.state_dict())
    torch.testing.assert_close(net(x), own(x), rtol=1e-5, atol=1e-5)
    assert count(net, x).macs == count(own, x).macs
    assert count(net.to('meta'), x.to('meta')).macs == count(own, x).macs


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Scores of BasicSR's attention are rounded before they are normalised, those of the fused one are not."""
    module, fused = attention()
    x = torch.randn(5, 16, 12)
    mask = torch.where(torch.rand(5, 16, 16) < 0.3, -100.0, 0.0)
    expected = module(x, mask)
    result = fused.to(dtype)(x.to(dtype), mask.to(dtype))
    assert result.dtype == dtype
    assert (result.float() - expected).abs().max() < 8 * torch.finfo(dtype).eps * expected.abs().max()
