"""Transposed convolutions as convolutions equal the transposed ones, and stand back where they must."""
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from basicsr_amsr.execution.transposed import splits, transposed_convolution
from basicsr_amsr.profiling.macs import count


def layer(stride, kernel, padding, channels=3, out=2, **options):
    return nn.ConvTranspose2d(channels, out, kernel, stride, padding, stride + 2 * padding - kernel, **options)


@st.composite
def shapes(draw):
    """Stride, kernel and padding that enlarge by the stride: the output padding is 0 to stride − 1."""
    stride, padding = draw(st.integers(1, 5)), draw(st.integers(0, 6))
    return stride, stride + 2 * padding - draw(st.integers(0, min(stride, stride + 2 * padding) - 1)), padding


@settings(max_examples=80, deadline=None)
@given(shape=shapes(), n=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9), bias=st.booleans(),
       seed=st.integers(0, 99))
@torch.no_grad()
def test_equal_whatever_the_shape(shape, n, height, width, bias, seed):
    torch.manual_seed(seed)
    module = layer(*shape, bias=bias).double()
    assert splits(module)
    x = torch.randn(n, 3, height, width, dtype=torch.double)
    expected = module(x)
    assert expected.shape[2:] == (shape[0] * height, shape[0] * width)
    assert torch.allclose(transposed_convolution(module, x), expected, atol=1e-12)


@pytest.mark.parametrize('scale', [2, 3, 4])
@torch.no_grad()
def test_that_of_fsrcnn(scale):
    module = layer(scale, 9, 4, 56, 3)
    x = torch.randn(1, 56, 33, 20).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(transposed_convolution(module, x), module(x), rtol=1e-5, atol=1e-5)
    half = x.bfloat16()
    exact = copy.deepcopy(module.bfloat16()).float()(half.float())  # PyTorch's own bf16 differs by CPU
    found = transposed_convolution(module, half).float()
    assert ((found - exact).abs() <= exact.abs() * 2**-8 + 1e-3).all()  # half a unit in the last of bf16's eight bits


@pytest.mark.parametrize('module', [
    nn.ConvTranspose2d(4, 4, 9, 4, 4, 2), nn.ConvTranspose2d(4, 4, 9, 4, 4, 3, groups=2),
    nn.ConvTranspose2d(4, 4, (9, 5), 4, (4, 2), 3), nn.ConvTranspose2d(4, 4, 5, 4, 4, 3, dilation=2),
])
@torch.no_grad()
def test_other_layers_run_as_they_are(module):
    assert not splits(module)
    x = torch.randn(1, 4, 5, 6)
    assert torch.equal(transposed_convolution(module, x), module(x))


def test_a_gradient_and_a_count_see_the_layer_itself():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.deconv = layer(4, 9, 4)

        def forward(self, image):
            return transposed_convolution(self.deconv, image)

    net, x = Net(), torch.randn(1, 3, 5, 6)
    assert net(x).requires_grad and torch.equal(net(x), net.deconv(x))
    assert count(net, x).macs == 5 * 6 * 3 * 2 * 81
    seen = []
    handle = net.deconv.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        watched = net(x)
        handle.remove()
        assert seen == [1] and torch.allclose(net(x), watched, atol=1e-5)
    exported = torch.export.export(net.eval(), (x,)).graph
    assert any('transpose' in str(node.target) for node in exported.nodes)
