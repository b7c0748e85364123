"""Layer normalisation over channels is one op, however a network writes it, and nothing else is."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.graph.ops import LayerNorm
from basicsr_amsr.execution.graph.run_by_torch import run
from basicsr_amsr.execution.graph.traces import Traces
from tests.backbones.tiny import image


class Function(torch.autograd.Function):
    """As NAFNet has it."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return weight.view(1, -1, 1, 1) * ((x - mean) / (variance + eps).sqrt()) + bias.view(1, -1, 1, 1)


def deviations(x):
    return x - x.mean(1, keepdim=True)


def quotient(x, eps=1e-6):
    return deviations(x) / torch.sqrt(deviations(x).pow(2).mean(1, keepdim=True) + eps)


def of_permuted(x, weight, bias):
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-5).permute(0, 3, 1, 2)


# Name to the form, and whether factors and summands of channels belong to it.
FORMS = {
    'quotient': (lambda x, w, b: quotient(x), (False, False)),
    'scaled quotient': (lambda x, w, b: w[:, None, None] * quotient(x) + b[:, None, None], (True, True)),
    'factors alone': (lambda x, w, b: quotient(x) * w.reshape(1, -1, 1, 1), (True, False)),
    'summands alone': (lambda x, w, b: quotient(x) + b.reshape(1, -1, 1, 1), (False, True)),
    'autograd.Function': (lambda x, w, b: Function.apply(x, w, b, 1e-6), (True, True)),
    'layer_norm': (of_permuted, (True, True)),
    'layer_norm without weights': (
        lambda x, w, b: F.layer_norm(x.permute(0, 2, 3, 1), w.shape).permute(0, 3, 1, 2), (False, False)),
    'reciprocal root': (lambda x, w, b: deviations(x) * torch.rsqrt(deviations(x).square().mean(1, keepdim=True) + .1),
                        (False, False)),
    'squares': (lambda x, w, b: deviations(x) / ((deviations(x) * deviations(x)).mean(1, keepdim=True) + .1).sqrt(),
                (False, False)),
    'variance': (lambda x, w, b: deviations(x) / (x.var(1, unbiased=False, keepdim=True) + .1).sqrt(), (False, False)),
}
OTHERS = {
    'over the image': lambda x, w, b: F.group_norm(x, 1, w, b),
    'of each map': lambda x, w, b: (x - x.mean((2, 3), keepdim=True)) / (
        x.var((2, 3), unbiased=False, keepdim=True) + 1e-6).sqrt(),
    'unbiased': lambda x, w, b: deviations(x) / (x.var(1, keepdim=True) + 1e-6).sqrt(),
    'not centred': lambda x, w, b: x / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt(),
    'of something else': lambda x, w, b: deviations(x) / (
        deviations(2 * x).pow(2).mean(1, keepdim=True) + 1e-6).sqrt(),
    'cubes': lambda x, w, b: deviations(x) / (deviations(x).pow(4).mean(1, keepdim=True) + 1e-6).sqrt(),
    'over rows': lambda x, w, b: F.layer_norm(x, x.shape[3:]),
    'other axes': lambda x, w, b: F.layer_norm(x.permute(0, 3, 2, 1), w.shape, w, b).permute(0, 3, 2, 1),
    'multiplied by the root': lambda x, w, b: deviations(x) * (
        deviations(x).pow(2).mean(1, keepdim=True) + 1e-6).sqrt(),
}


class Net(nn.Module):
    """A form behind a convolution."""

    def __init__(self, form, channels=12):
        super().__init__()
        self.form = form
        self.conv = nn.Conv2d(3, channels, 3, 1, 1)
        self.weight, self.bias = nn.Parameter(torch.randn(channels)), nn.Parameter(torch.randn(channels))

    def forward(self, x):
        return self.form(self.conv(x), self.weight, self.bias)


def norms_of(graph):
    return [op for op in graph.ops if isinstance(op, LayerNorm)]


@torch.no_grad()
@pytest.mark.parametrize('name', FORMS)
@pytest.mark.parametrize('shape', [(1, 3, 1, 1), (1, 3, 7, 12), (3, 3, 9, 5)])
def test_is_one_op(name, shape):
    form, (weight, bias) = FORMS[name]
    net, x = Net(form), image(*shape)
    graph = Traces().graph(net, x)
    (norm,) = norms_of(graph)
    assert len(graph.ops) == 2 and (norm.weight, norm.bias) == ('weight' if weight else None, 'bias' if bias else None)
    torch.testing.assert_close(run(graph, net, x), net(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('name', OTHERS)
def test_what_is_none(name):
    net, x = Net(OTHERS[name]), image(1, 3, 7, 12)
    graph = Traces().graph(net, x)
    assert not norms_of(graph)
    torch.testing.assert_close(run(graph, net, x), net(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_else_reads_a_part_of_it_finds_it():
    def form(x, weight, bias):
        plain = quotient(x)
        return torch.cat([plain * weight[:, None, None] + bias[:, None, None], plain, deviations(x)], 1)

    net, x = Net(form), image(1, 3, 7, 12)
    graph = Traces().graph(net, x)
    assert sorted((norm.weight or '', norm.bias or '') for norm in norms_of(graph)) == [('', ''), ('weight', 'bias')]
    torch.testing.assert_close(run(graph, net, x), net(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_summands_in_front_of_factors_stay_apart():
    net, x = Net(lambda x, w, b: (quotient(x) + b[:, None, None]) * w[:, None, None]), image(1, 3, 7, 12)
    graph = Traces().graph(net, x)
    assert [(norm.weight, norm.bias) for norm in norms_of(graph)] == [(None, 'bias')]
    torch.testing.assert_close(run(graph, net, x), net(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    net, x = Net(FORMS['layer_norm'][0]).to(dtype), image(1, 3, 7, 12).to(dtype)
    graph = Traces().graph(net, x)
    assert len(norms_of(graph)) == 1
    torch.testing.assert_close(run(graph, net, x), net(x))


def test_gradients_are_the_networks():
    net, x = Net(FORMS['scaled quotient'][0]), image(2, 3, 5, 6)
    graph = Traces().graph(net, x)
    net(x).square().mean().backward()
    wanted = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    run(graph, net, x).square().mean().backward()
    for parameter, gradient in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
