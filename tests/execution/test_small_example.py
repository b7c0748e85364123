"""Small images in place of large ones: only where a trace holds no size."""
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basicsr_amsr.execution.small_example import small_example
from tests.backbones.tiny import network

LARGE = torch.rand(1, 3, 270, 260)


class Scaled(nn.Module):
    """Multiplies by what a function makes of the image."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor(x)


@pytest.mark.parametrize('name', ['CARN_M', 'EDSR', 'FSRCNN', 'PAN', 'RCAN', 'RFDN'])
def test_convolutional_networks_are_traced_with_a_small_image(name):
    net = network(name, 4).eval()
    small = small_example(net, LARGE)
    assert small.shape == (1, 3, 64 + 14, 64 + 4)
    traced = torch.jit.trace(net, small, check_trace=False)
    with torch.no_grad():
        assert torch.allclose(traced(LARGE), net(LARGE), atol=1e-5)


@pytest.mark.parametrize('factor', [
    lambda x: int(x.shape[-1]), lambda x: torch.ones(int(x.shape[-2]), 1),
    lambda x: torch.linspace(0, 1, int(x.shape[-1])),
    lambda x: F.interpolate(F.avg_pool2d(x, int(x.shape[-2]) // 2), x.shape[-2:]),
    lambda x: torch.from_numpy(torch.arange(x.shape[-1]).numpy().copy())])
def test_a_network_that_knows_its_size_is_traced_with_the_image(factor):
    assert small_example(Scaled(factor), LARGE) is LARGE


def test_swinir_knows_its_size():
    assert small_example(network('SwinIR', 4).eval(), LARGE) is LARGE


def test_a_small_image_stands_for_itself():
    x = torch.rand(2, 3, 256, 256)
    assert small_example(nn.Identity(), x) is x


def test_openvino_computes_a_large_image_by_a_small_trace():
    pytest.importorskip('openvino')
    from basicsr_amsr.execution.openvino import Session, openvino_graph
    net, x = network('RFDN', 4).eval(), LARGE
    picture = torch.from_numpy(Session(openvino_graph(net, x), torch.float32, 1)(x.numpy()))
    with torch.no_grad():
        assert torch.allclose(picture, net(x), atol=1e-4)
