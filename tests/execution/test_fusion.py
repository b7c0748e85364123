"""What follows a convolution and is done before its values are written."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.fusion import PLAIN, Activation, Epilogue, Fused, activation_of, fused
from basicsr_amsr.execution.graph.from_export import read
from basicsr_amsr.execution.graph.ops import Conv
from basicsr_amsr.execution.graph.run_by_torch import Weights


class Block(nn.Module):
    """conv, then whatever is given."""

    def __init__(self, follow):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.prelu, self.follow = nn.PReLU(4), follow

    def forward(self, x):
        return self.follow(self, x)


def groups(follow, kept=()):
    """The groups of a block, as one stage."""
    graph = read(Block(follow), torch.zeros(2, 4, 16, 12))
    readers = {}
    for value, op in enumerate(graph.ops, 1):
        for i in op.inputs:
            readers.setdefault(i, []).append(value)
    convs = {value for value, op in enumerate(graph.ops, 1) if isinstance(op, Conv)}
    return fused(range(1, len(graph.ops) + 1), graph.ops, convs, readers, kept)


RELU = Activation(0.0)


@pytest.mark.parametrize('follow, expected', [
    (lambda m, x: m.first(x), [Fused(1, 1)]),
    (lambda m, x: F.relu(m.first(x), inplace=True), [Fused(2, 1, Epilogue(before=RELU))]),
    (lambda m, x: F.leaky_relu(m.first(x), 0.1), [Fused(2, 1, Epilogue(before=Activation(0.1)))]),
    (lambda m, x: F.leaky_relu(m.first(x), negative_slope=0.2), [Fused(2, 1, Epilogue(before=Activation(0.2)))]),
    (lambda m, x: F.leaky_relu(m.first(x)), [Fused(2, 1, Epilogue(before=Activation(0.01)))]),
    (lambda m, x: x + m.first(x) * 0.5, [Fused(3, 1, Epilogue(scale=0.5, added=0))]),
    (lambda m, x: torch.add(m.first(x), x).relu(), [Fused(3, 1, Epilogue(added=0, after=RELU))]),
    (lambda m, x: x + 0.5 * torch.relu(m.first(x)), [Fused(4, 1, Epilogue(RELU, 0.5, 0))]),
    # Two convolutions: the sum goes to the later one, the earlier one is there by then.
    (lambda m, x: m.first(x) + m.second(x), [Fused(1, 1), Fused(3, 2, Epilogue(added=1))]),
    # In another order, or more than that, or what is something else, stays by itself.
    (lambda m, x: torch.relu(m.first(x) * 0.5), [Fused(2, 1, Epilogue(scale=0.5)), Fused(3, None)]),
    (lambda m, x: (m.first(x) + x) * 0.5, [Fused(2, 1, Epilogue(added=0)), Fused(3, None)]),
    (lambda m, x: m.first(x) + x + x, [Fused(2, 1, Epilogue(added=0)), Fused(3, None)]),
    (lambda m, x: torch.relu(torch.relu(m.first(x))), [Fused(2, 1, Epilogue(before=RELU)), Fused(3, None)]),
    (lambda m, x: torch.add(x, m.first(x), alpha=2), [Fused(1, 1), Fused(2, None)]),
    (lambda m, x: torch.sigmoid(m.first(x)), [Fused(1, 1), Fused(2, None)]),
    (lambda m, x: m.first(x) * x, [Fused(1, 1), Fused(2, None)]),
    (lambda m, x: m.first(x) + 1, [Fused(1, 1), Fused(2, None)]),
])
def test_what_is_fused(follow, expected):
    assert groups(follow) == expected


def test_slopes_of_prelu_are_the_networks_own():
    block = Block(lambda m, x: m.prelu(m.first(x)))
    [group] = groups(block.follow)
    weights = Weights(block, read(block, torch.zeros(2, 4, 16, 12)))
    assert group.epilogue.bound(weights).before.slope is block.prelu.weight


def test_what_is_kept_or_read_twice_is_written():
    def twice(m, x):
        value = m.first(x)
        return value + torch.relu(value)

    assert groups(twice)[0] == Fused(1, 1, PLAIN)
    assert groups(lambda m, x: torch.relu(m.first(x)), kept=[1]) == [Fused(1, 1), Fused(2, None)]


@pytest.mark.parametrize('module', [nn.ReLU(), nn.LeakyReLU(0.3), nn.PReLU(), nn.PReLU(5, 0.1)])
def test_activations_are_those_of_the_modules(module):
    rows, graph = torch.randn(7, 5), read(module, torch.zeros(2, 5, 4, 4))
    activation = activation_of(graph.ops[0]).bound(Weights(module, graph))
    assert torch.equal(activation.into(rows, torch.empty_like(rows)), module(rows))
    assert torch.equal(activation.into(rows.clone(), rows.clone()), module(rows))
