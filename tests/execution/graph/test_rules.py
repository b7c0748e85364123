"""What may be skipped of a graph, and what of it has to be predicted."""
import pytest
import torch
from torch import nn

from basicsr_amsr.execution.graph.rules import rules_of
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.graph.traces import Traces
from tests.backbones.tiny import image
from tests.execution.test_torch_sparse import NAMES, net_of

# Of each network how many values are predicted, of these needed everywhere or for averages alone, and the halo.
FACTS = {'CARN': (20, 0, 0, 1), 'CARN_M': (20, 0, 0, 1), 'EDSR': (7, 0, 0, 1), 'MSRResNet': (7, 0, 0, 1),
         'SRResNet': (7, 0, 0, 1), 'RCAN': (11, 0, 2, 1), 'RRDBNet': (19, 0, 0, 1), 'PAN': (12, 0, 0, 1),
         'RFDN': (11, 2, 0, 1), 'FSRCNN': (3, 1, 0, 1), 'DnCNN': (3, 0, 0, 1)}


@pytest.mark.parametrize('name', NAMES)
def test_what_is_predicted(name):
    net, channels = net_of(name)
    rules = rules_of(Traces().graph(net, image(1, channels, 21, 30)))
    averages = sum(reach == (0, 0) for reach in rules.contexts.values()) - len(rules.everywhere)
    assert (len(rules.contexts), len(rules.everywhere), averages, rules.halo) == FACTS[name]
    # Of convolutions, what they read of the output of others is what is predicted.
    read = {part for value, op in enumerate(rules.graph.ops, 1) if rules.looks_around(value) and value > rules.anchor
            for i in op.inputs for part in rules.parts(i)}
    assert read - set(rules.contexts) <= {value for value in read if rules.form(value) != 'rows'}


class Halves(nn.Module):
    """Half of the channels passes by a convolution."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.third = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        left, right = self.second(self.first(x)).chunk(2, 1)
        return torch.cat([self.third(left), right.relu()], 1)


def test_channels_of_skipped_values_are_skipped():
    rules = rules_of(Traces().graph(Halves(), image(1, 3, 9, 12)))
    assert [fact.form for fact in rules.facts] == ['map', 'map', *['rows'] * (len(rules.facts) - 2)]
    assert [rules.facts[value].kind for value in rules.contexts] == ['slice']


class Gated(nn.Module):
    """What is read of a small map that is enlarged: the pixel itself, or its neighbours too."""

    def __init__(self, side):
        super().__init__()
        self.first, self.small = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.second, self.last = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(16, 8, side, 1, side // 2)

    def forward(self, x):
        x = self.first(x)
        small = nn.functional.interpolate(self.small(x), x.shape[-2:], mode='bilinear', align_corners=False)
        x = self.second(x)
        return self.last(torch.cat([x * small, small], 1)) if self.last.kernel_size == (3, 3) else x * small


@pytest.mark.parametrize(('side', 'number'), [(1, 1), (3, 0)])
def test_maps_that_are_enlarged_for_active_pixels_alone(side, number):
    rules = rules_of(Traces().graph(Gated(side), image(1, 3, 9, 12)))
    assert len(rules.resized_for_active) == number


class Strided(nn.Module):
    """Its first feature is smaller than the image."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x):
        return self.first(x)


@pytest.mark.parametrize(('net', 'why'), [
    (Strided(), 'maps of another size'), (nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1)), 'nothing can be skipped'),
    (nn.Sequential(nn.ReLU()), 'no convolution')])
def test_networks_without_anything_to_skip_are_refused(net, why):
    with pytest.raises(Unreadable, match=why):
        rules_of(Traces().graph(net, image(1, 3, 8, 8)))
