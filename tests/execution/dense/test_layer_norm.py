"""Layer normalisation over channels in the dense form: the network's own picture, by few units."""
import copy

import pytest
import torch
from torch import nn

from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.dense.segments import segments_of
from tests.backbones.tiny import image
from tests.execution.calls import python_calls
from tests.execution.dense.test_dense import difference
from tests.kernels import needs_kernels

pytestmark = needs_kernels


class Norm(nn.Module):
    """Over channels, with weights that say which channel is which."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(1 + torch.randn(channels) / 4), nn.Parameter(torch.randn(channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * ((x - mean) / torch.sqrt(variance + 1e-6)) + self.bias[:, None, None]


class Block(nn.Module):
    """A norm in front of a 1x1, and one of half of the channels in front of a 3x3."""

    def __init__(self, channels):
        super().__init__()
        self.half = channels // 2
        self.first, self.second = Norm(channels), Norm(self.half)
        self.point, self.around = nn.Conv2d(channels, channels, 1), nn.Conv2d(self.half, channels, 3, 1, 1)

    def forward(self, x):
        x = x + self.point(nn.functional.gelu(self.first(x)))
        return x + self.around(self.second(x[:, self.half:2 * self.half]))


class Normed(nn.Module):
    """Two blocks between the image and an enlarged one."""

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3, 1, 1), Block(channels), Block(channels), Norm(channels),
                                  nn.Conv2d(channels, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.body(x)


@torch.no_grad()
@pytest.mark.parametrize('channels', [6, 16, 36, 50])
def test_is_the_networks_picture(channels):
    net, form = Normed(channels).eval(), DenseForm()
    for shape in ((1, 3, 1, 1), (1, 3, 5, 9), (3, 3, 16, 23), (1, 3, 270, 480)):
        x = image(*shape)
        assert [segment.native for segment in segments_of(form.traces.graph(net, x[:1]))] == [True]
        assert difference(form.run(net, x), net(x)) <= 1e-4, shape


@torch.no_grad()
def test_an_image_of_one_value():
    """Inside of it all pixels are alike, and the variance of what has no bias is tiny."""
    net, form, x = Normed(20).eval(), DenseForm(), torch.full((1, 3, 17, 21), .5)
    nn.init.constant_(net.body[0].weight, .01)
    nn.init.constant_(net.body[0].bias, .3)  # so that all channels are equal
    assert difference(form.run(net, x), net(x)) <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_types(dtype):
    net, form, x = Normed(36).eval(), DenseForm(), image(1, 3, 21, 30)
    wanted = net(x)
    half = copy.deepcopy(net).to(dtype)
    found = form.run(half, x.to(dtype), 'bfloat16' if dtype == torch.bfloat16 else 'float32')
    assert found.dtype == dtype
    error = [float((one.float() - wanted).square().mean().sqrt()) for one in (found, half(x.to(dtype)))]
    assert 0 < error[0] <= 1.5 * error[1]


@torch.no_grad()
def test_follows_its_weights_and_takes_few_calls():
    net, form, x = Normed(36).eval(), DenseForm(), image(1, 3, 18, 20)
    form.run(net, x)
    for parameter in net.parameters():
        parameter.mul_(-1.1)
    assert difference(form.run(net, x), net(x)) <= 1e-4
    assert python_calls(lambda: form.run(net, x)) < 90
