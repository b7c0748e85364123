"""The graph says what the network does, for every size, batch and type, and in whatever state its weights are."""
import copy
import pickle

import pytest
import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.graph import trace
from basicsr_amsr.execution.graph.count import macs
from basicsr_amsr.execution.graph.ops import Conv, Pad, Torch
from basicsr_amsr.execution.graph.run_by_torch import run
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.profiling.macs import count
from tests.backbones.tiny import image
from tests.execution.graph.networks import NAMES, WINDOWS, build, channels

SIZES = [(1, 1), (1, 6), (2, 9), (3, 3), (5, 8), (8, 8), (13, 16), (17, 23), (24, 24), (31, 18), (40, 33), (16, 48)]
TAKEN = {'RRDBNet x2': 3, 'SAFMN': 7, 'DITN': 8}  # of the sizes, by networks that refuse the others
TRACED_ANEW = ('Winding', 'SPAN', 'DITN')  # for every size


def compare(net: nn.Module, traces: Traces, x: torch.Tensor) -> bool:
    """Whether the network takes such an image; then the graph has to give what it gives."""
    with torch.no_grad():
        try:
            wanted = net(x.clone())
        except (RuntimeError, AssertionError):
            return False
        found = run(traces.graph(net, x), net, x)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.max() - wanted.min() + 1e-6)
    return True


@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.slow if name in TRACED_ANEW else [])
                                  for name in NAMES])
def test_equals_the_network_at_every_size(name):
    net, traces = build(name), Traces()
    taken = [compare(net, traces, image(1, channels(name), *size)) for size in SIZES]
    assert sum(taken) == TAKEN.get(name, len(SIZES)), taken
    assert compare(net, traces, image(3, channels(name), 24, 24))
    assert compare(net, traces, image(3, channels(name), 16, 40))


@pytest.mark.parametrize('name', [*TRACED_ANEW, 'SwinIR_light'])
def test_equals_the_network_at_two_sizes(name):
    net, traces = build(name), Traces()
    assert compare(net, traces, image(1, 3, 8, 16)) and compare(net, traces, image(1, 3, 24, 24))


@pytest.mark.slow
@pytest.mark.parametrize('name', [*NAMES, *WINDOWS])
def test_equals_the_network_on_a_large_image(name):
    assert compare(build(name), Traces(), image(1, channels(name), 272 if 'x2' in name else 270, 480))


@pytest.mark.slow
@pytest.mark.parametrize('name', WINDOWS)
def test_equals_window_transformers_at_every_size(name):
    net, traces = build(name), Traces()
    assert all(compare(net, traces, image(batch, 3, *size)) for size in SIZES for batch in (1, 3))


# SPAN merges weights in each forward, by convolutions that are not of its image.
@pytest.mark.parametrize('name', [*(name for name in NAMES if name != 'SPAN'), 'SwinIR_light'])
def test_counts_what_the_dispatcher_counts(name):
    net, traces = build(name), Traces()
    for size in ((16, 24), (32, 32)):
        x = image(2, channels(name), *size)
        assert sum(macs(traces.graph(net, x), (2, *size))) == count(net, x).macs > 0


def test_one_trace_serves_the_sizes_that_the_network_treats_alike():
    net, traces = build('RFDN'), Traces()
    graphs = {size: traces.graph(net, image(1, 3, *size)) for size in ((30, 40), (64, 33), (48, 48))}
    assert len(set(map(id, graphs.values()))) == 1
    small = traces.graph(net, image(1, 3, 8, 8))  # ESA leaves its pooling out there
    assert small is not graphs[48, 48] and not graphs[48, 48].holds_for((1, 8, 8))


class Numbers(nn.Module):
    """Does with its image's sizes what only numbers can."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x):
        if torch.compiler.is_dynamo_compiling() or not isinstance(x.shape[3], int):
            raise NotImplementedError('these sizes are no numbers')
        return self.conv(x)


def test_a_network_whose_sizes_cannot_be_free_is_traced_for_each():
    net, traces = Numbers(), Traces()
    for size in ((9, 12), (10, 12)):
        x = image(1, 3, *size)
        graph = traces.graph(net, x)
        assert graph.holds_for((1, *size)) and not graph.holds_for((1, 9, 14))
        with torch.no_grad():
            torch.testing.assert_close(run(graph, net, x), net(x))


def test_gradients_are_the_networks():
    net, x = build('PAN'), image(2, 3, 9, 11)
    graph = Traces().graph(net, x)
    net(x).square().mean().backward()
    wanted = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    net.zero_grad()
    run(graph, net, x).square().mean().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-7)


def test_follows_the_weights():
    net, traces, x = build('RFDN'), Traces(), image(1, 3, 16, 20)
    assert compare(net, traces, x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    assert compare(net, traces, x)
    other = build('RFDN')
    nn.init.normal_(other.conv_first.weight)
    net.load_state_dict(other.state_dict())
    assert compare(net, traces, x)
    assert compare(net.double(), traces, x.double())


def test_copies_and_pickles_start_anew():
    net, traces, x = build('FSRCNN'), Traces(), image(1, 3, 8, 8)
    traces.graph(net, x)
    for other in (copy.deepcopy(traces), pickle.loads(pickle.dumps(traces))):
        assert not other._graphs and compare(net, other, x)


def test_merged_weights_are_read_where_they_are_stored():
    net = build('SPAN')
    graph = Traces().graph(net, image(1, 3, 16, 16))
    kernels = [op.weight for op in graph.ops if isinstance(op, Conv)]
    assert graph.merges and 'block_1.c1_r.eval_conv.weight' in kernels and not any('.sk.' in name for name in kernels)


def test_convolutions_are_ops_and_the_rest_runs_in_torch():
    graph = Traces().graph(build('Winding'), image(1, 3, 20, 20))
    assert sum(isinstance(op, Conv) for op in graph.ops) == 2
    assert any(isinstance(op, Torch) and 'linspace' in op.where and 'networks.py' in op.where for op in graph.ops)


class Deciding(nn.Module):
    """A network whose control flow depends on what its image holds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x):
        return self.conv(x) if x.mean() > 0 else x


class Two(Deciding):
    """A network that returns two images."""

    def forward(self, x):
        return x, self.conv(x)


class Counting(Deciding):
    """A network that counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer('calls', torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.conv(x)


class Choosing(Deciding):
    """A network of which a map is as large as its image has bright values."""

    def forward(self, x):
        bright = x.flatten()[x.flatten() > 0.5]
        return self.conv(x) + bright.sum()


@pytest.mark.parametrize(('cls', 'words'), [
    (Deciding, 'test_trace.py:'), (Two, 'returns 2 things'), (Counting, 'calls'),
    (Choosing, 'sizes that follow from what its image holds .*test_trace.py:')])
def test_says_what_cannot_be_read(cls, words):
    with pytest.raises(UserError, match=words) as caught:
        Traces().graph(cls(), image(1, 3, 8, 8))
    assert cls.__name__ in str(caught.value) and '\n' not in str(caught.value)


def test_gives_up_what_takes_too_long(monkeypatch):
    monkeypatch.setattr(trace, 'SECONDS', -1.0)
    net = build('RFDN')
    with pytest.raises(UserError, match='too many operators to be read') as caught:
        Traces().graph(net, image(1, 3, 16, 16))
    assert 'RFDN' in str(caught.value) and not any(module._forward_pre_hooks for module in net.modules())
    monkeypatch.setattr(trace, 'SECONDS', 1000.0)
    assert compare(net, Traces(), image(1, 3, 16, 16))


class Padded(nn.Module):
    """A convolution behind zeros, and one behind others than zeros all around alike."""

    def __init__(self, amounts=(1, 1, 2, 2), **options):
        super().__init__()
        self.amounts, self.options = amounts, options
        self.conv = nn.Conv2d(3, 4, (5, 3))

    def forward(self, x):
        return self.conv(nn.functional.pad(x, self.amounts, **self.options))


@torch.no_grad()
def test_zeros_around_a_map_are_padding():
    x = image(2, 3, 11, 13)
    for net, folded in ((Padded(), True), (Padded((1, 0, 2, 2)), False), (Padded(value=1.0), False),
                        (Padded(mode='reflect'), False)):
        graph = Traces().graph(net, x)
        assert any(isinstance(op, Pad) for op in graph.ops) != folded
        torch.testing.assert_close(run(graph, net, x), net(x))
