"""What may be skipped of a graph is what the torch executor skips of the same network."""
import pytest
import torch
from torch import nn

from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.execution.graph import reference
from basicsr_amsr.execution.graph.rules import rules_of
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.region.reading import read_network
from tests.backbones.tiny import image
from tests.execution.test_region import NAMES, net_of

# Not read by torch.fx, and of FSRCNN its last module.
UNREAD = [('RRDBNet', 2), *(('FSRCNN', scale) for scale in (2, 3, 4))]
CASES = [(name, scale) for name in NAMES for scale in get_backbone(name).scales if (name, scale) not in UNREAD]


def graph_values(graph, net, x):
    """All values of a graph for an image."""
    weights, values = reference.Weights(net, graph), [x]
    for op in graph.ops:
        values.append(reference.call(op, values, weights, (len(x), *x.shape[2:]), x))
    return values


def program_values(program, net, x):
    """All values of a program for an image."""
    values = [x]
    for step, call in program.bind(net):
        values.append(call(*(values[i] for i in step.inputs)))
    return values


@pytest.mark.parametrize(('name', 'scale'), CASES)
@torch.no_grad()
def test_facts_are_those_of_the_program(name, scale):
    net, channels = net_of(name, scale)
    x = image(1, channels, 21, 30)
    program, graph = read_network(net), Traces().graph(net, x)
    rules = rules_of(graph)
    ours, theirs = graph_values(graph, net, x), program_values(program, net, x)
    assert torch.equal(ours[rules.anchor], theirs[program.anchor])
    assert torch.allclose(ours[rules.output], theirs[program.output], atol=1e-5)
    assert len(rules.contexts) == len(program.contexts) and rules.halo == program.halo
    for mine, other in zip(rules.contexts, sorted(program.contexts), strict=True):
        assert torch.allclose(ours[mine], theirs[other], atol=1e-5)
        assert rules.contexts[mine] == program.contexts[other]
        assert rules.scale(mine) == program.scale(other)
        assert rules.channels(mine) == program.channels(other)
        assert (mine in rules.everywhere) == (other in program.everywhere)
        assert rules.form(mine) == program.form(other) == 'rows'
        assert [ours[i].shape for i in rules.parts(mine)] == [theirs[i].shape for i in program.parts(other)]
    assert rules.form(rules.output) == program.form(program.output)
    forms = [{(tuple(value.shape), round(float(value.double().sum()), 3)): form(i) for i, value in enumerate(values)
              if isinstance(value, torch.Tensor)} for values, form in ((ours, rules.form), (theirs, program.form))]
    common = forms[0].keys() & forms[1].keys()
    assert len(common) > len(program.steps) // 2
    assert {key: forms[0][key] for key in common} == {key: forms[1][key] for key in common}


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
