"""Costs by module and by operator, with shares of the whole."""
import torch
from torch import nn

from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.profiling.breakdown import by_module, by_operator
from basicsr_amsr.profiling.macs import count


class Net(nn.Module):
    """A body used twice, a normalisation, a module that never runs, and a weight of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Sequential(nn.ReLU()))
        self.norm = nn.BatchNorm2d(4)
        self.idle = nn.Conv2d(4, 4, 1)
        self.weight = nn.Parameter(torch.rand(10, 10))

    def forward(self, x):
        return self.norm(self.body(self.body(x))) @ self.weight


X = torch.rand(1, 4, 10, 10)
CONV, PRODUCT = 2 * 100 * 4 * 4 * 9, 4 * 10 * 10 * 10


def test_modules_hold_what_is_below_them():
    net = Net()
    counted = count(net, X)
    shallow, deep = (by_module(net, counted, depth) for depth in (1, 3))
    assert list(shallow) == ['', 'body', 'norm']
    assert list(deep) == ['', 'body', 'body.0', 'body.1', 'body.1.0', 'norm']
    whole = deep['']
    assert (whole['type'], whole['macs'], whole['convolutions'], whole['activations']) == (
        'Net', CONV + PRODUCT, 2, 800)
    assert whole['params'] == 144 + 8 + 20 + 100 and whole['share'] == {'params': 1, 'macs': 1, 'activations': 1}
    assert deep['body'] == shallow['body'] == {**deep['body.0'], 'type': 'Sequential', 'calls': 4,
                                               'macs_paper': CONV + 800}
    assert deep['body']['share'] == {'params': 144 / 272, 'macs': CONV / (CONV + PRODUCT), 'activations': 1.0}
    assert (deep['norm']['params'], deep['norm']['macs'], deep['norm']['calls'] > 0) == (8, 0, True)


def test_operators_come_costliest_first_and_the_rest_says_why():
    operators = by_operator(count(Net(), X))
    assert list(operators)[:2] == ['aten::convolution', 'aten::mm']
    assert operators['aten::mm']['share'] == {'macs': PRODUCT / (CONV + PRODUCT), 'activations': 0}
    assert operators['aten::convolution']['calls'] == 2 and 'why' not in operators['aten::convolution']
    assert operators['aten::relu']['why'] == 'activation'
    assert operators['aten::native_batch_norm']['why'] == 'normalisation'


def test_a_network_that_computes_nothing_has_no_share():
    modules = by_module(nn.Identity(), count(nn.Identity(), X))
    assert modules['']['macs'] == 0 and modules['']['share'] == {'params': 0, 'macs': 0, 'activations': 0}


def test_rfdn_has_the_figures_of_the_challenge():
    """The NTIRE challenges print for it 0.433 M parameters, 27.10 GFLOPs, 112.03 M activations, 64 convolutions."""
    net = get_backbone('RFDN').create(upscale=4).to('meta')
    counted = count(net, torch.empty(1, 3, 256, 256, device='meta'))
    assert (round(counted.params / 1e6, 3), round(counted.macs_paper / 1e9, 2)) == (0.433, 27.10)
    assert (round(counted.activations / 1e6, 2), counted.convolutions) == (112.03, 64)
