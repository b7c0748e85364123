"""The dense form makes the network's own picture, at every size, by the weights that it has at the time."""
import copy
import pickle

import pytest
import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_, restore_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.dense.segments import segments_of
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.profiling.macs import count
from tests.backbones.tiny import OPTIONS, image
from tests.execution.calls import python_calls
from tests.execution.graph.networks import OF_BASICSR, WINDOWS, build, channels
from tests.kernels import needs_kernels

pytestmark = needs_kernels
SIZES = [(1, 1), (1, 6), (2, 9), (3, 3), (5, 8), (8, 8), (13, 16), (17, 23), (24, 24), (31, 18), (40, 33), (16, 48)]
# nothing of them runs in torch
WHOLE = [*(name for name in OPTIONS if name not in (*WINDOWS, 'DAT')), *OF_BASICSR, 'SPAN', 'SAFMN', 'MoSR']


def plain(net: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    """The network's own picture; None for a size that it does not take."""
    try:
        with torch.no_grad():
            return net(x)
    except (RuntimeError, AssertionError):
        return None


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest, in parts of the range."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    return float((found - wanted).abs().max() / (wanted.max() - wanted.min() + 1e-3))


@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.slow if name in ('SPAN', 'SAFMN') else [])
                                  for name in WHOLE])  # those are traced for each size
def test_is_the_networks_picture_at_every_size(name):
    net, form = build(name), DenseForm()
    for size in SIZES:
        x = image(1, channels(name), *size)
        wanted = plain(net, x)
        if wanted is not None:
            assert difference(form.run(net, x), wanted) <= 1e-4, size
    x = image(3, channels(name), 16, 24)
    assert difference(form.run(net, x), plain(net, x)) <= 1e-4


@pytest.mark.parametrize('name', ['RFDN', 'CARN_M', 'PAN', 'RCAN', 'SRVGGNetCompact', 'EDSR', 'SAFMN', 'MoSR'])
def test_bf16_is_near(name):
    net, form, x = build(name), DenseForm(), image(1, 3, 21, 30)
    wanted = plain(net, x)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        autocast = net(x).float()
    found = form.run(net, x, 'bfloat16')
    error = [float((one - wanted).square().mean().sqrt()) for one in (found, autocast)]
    assert 0 < error[0] <= 1.5 * error[1]


@pytest.mark.parametrize('name', [name for name in WHOLE if name != 'RRDBNet x2'])
def test_all_of_it_is_native(name):
    graph = Traces().graph(build(name), image(1, channels(name), 24, 24))
    assert [segment.native for segment in segments_of(graph)] == [True]


def test_torch_runs_what_the_kernels_cannot():
    net, form = build('RRDBNet x2'), DenseForm()
    x = image(1, 3, 12, 16)
    segments = segments_of(Traces().graph(net, x))
    assert [segment.native for segment in segments] == [False, True]  # the pixel unshuffle of the image
    assert difference(form.run(net, x), plain(net, x)) <= 1e-4


class Two(nn.Module):
    """Returns two maps, of which the second is made of the first."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 20, 3, 1, 1), nn.Conv2d(20, 12, 3, 1, 1)

    def forward(self, x):
        feature = self.one(x).relu()
        return feature, nn.functional.pixel_shuffle(self.other(feature), 2)


@torch.no_grad()
def test_several_maps_are_written_where_they_are_wanted():
    net = Two().eval()
    form = DenseForm(Traces(several=True))
    for shape in ((1, 3, 13, 18), (2, 3, 8, 9)):
        x = image(*shape)
        wanted = net(x)
        around = [torch.full((*each.shape[:2], each.shape[2] + 3, each.shape[3] + 2), 7.) for each in wanted]
        form.write(net, x, 'float32', [each[..., 1:-2, 1:-1] for each in around])
        for found, each in zip(around, wanted, strict=True):
            torch.testing.assert_close(found[..., 1:-2, 1:-1], each, rtol=1e-4, atol=1e-5)
            found[..., 1:-2, 1:-1] = 7
            assert (found == 7).all()


@torch.no_grad()
def test_maps_that_torch_makes_are_written_as_well():
    net = nn.Sequential(nn.Conv2d(3, 24, 3, 1, 1), nn.Conv2d(24, 3, 3, 1, 1), nn.GroupNorm(1, 3)).eval()
    x, found = image(1, 3, 9, 11), torch.empty(1, 3, 9, 11)
    DenseForm().write(net, x, 'float32', [found])
    torch.testing.assert_close(found, net(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_several_maps_are_no_image():
    x = image(1, 3, 9, 11)
    net = Two().eval()
    with pytest.raises(UserError, match='Two returns 2 things: only one image can be read'):
        DenseForm().run(net, x)


class Dilated(nn.Module):
    """Nothing of it is a native operator."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 2, 2)

    def forward(self, x):
        return self.conv(x)


def test_says_why_a_network_is_left_to_torch():
    with pytest.raises(UserError, match=r'Dilated: native kernels would do 0 % .* conv: conv2d at .*py:\d+'):
        accelerate_(Dilated(), AMSRConfig(mode='dense', backend='native'))


class Turning(nn.Module):
    """In its middle a convolution of few MACs that only torch has."""

    def __init__(self, channels, kernel):
        super().__init__()
        middle = nn.Conv2d(channels, channels, 3, 1, 2, 2, groups=channels)
        before, behind = (nn.Conv2d(channels, channels, kernel, padding='same') for _ in range(2))
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3, 1, 1), before, middle, behind,
                                  nn.Conv2d(channels, 3, 3, 1, 1))

    def forward(self, x):
        return self.body(x)


def test_takes_turns_with_torch_where_that_is_worth_the_copies():
    net = Turning(96, 3).eval()
    x = image(1, 3, 20, 24)
    with torch.no_grad():
        plain = net(x)
        accelerate_(net, AMSRConfig(mode='dense', backend='native'))
        torch.testing.assert_close(net(x), plain, rtol=0, atol=1e-4)
    with pytest.raises(UserError, match=r'Turning: native kernels would do 9\d % of its MACs in 2 turns'):
        accelerate_(Turning(32, 1), AMSRConfig(mode='dense', backend='native'))


@pytest.fixture
def accelerated():
    """RFDN in the dense form, and the same network plain."""
    net = build('RFDN')
    accelerate_(net, AMSRConfig(mode='dense'))
    return net, build('RFDN')


def check(net: nn.Module, other: nn.Module, tolerance: float = 1e-4) -> None:
    """`net` computes by the kernels what `other` does."""
    x = image(1, 3, 18, 20)
    with torch.no_grad():
        assert net.native.image(net, x) is not None
        assert difference(net(x), other(x)) <= tolerance


def test_follows_steps_of_an_optimizer(accelerated):
    net, other = accelerated
    check(net, other)
    for one in accelerated:
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        one(image(1, 3, 8, 8)).sum().backward()
        optimizer.step()
    assert not torch.equal(net.conv_first.weight, build('RFDN').conv_first.weight)
    check(net, other)


def test_follows_steps_through_data(accelerated):
    check(*accelerated)  # as an exponential moving average is made
    for one in accelerated:
        for parameter in one.parameters():
            parameter.data.mul_(0.9).add_(0.01)
    check(*accelerated)


def test_follows_load_state_dict_and_swapped_signs(accelerated):
    net, other = accelerated
    check(net, other)
    state = {key: -value for key, value in other.state_dict().items()}
    for one in accelerated:
        one.load_state_dict(state)
    check(net, other)


def test_follows_its_number_format(accelerated):
    net, other = accelerated
    x = image(1, 3, 18, 20)
    check(net, other)
    net.to(torch.bfloat16)
    with torch.no_grad():
        found = net(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert difference(found.float(), plain(other, x)) < 0.1
    check(net.float(), other.bfloat16().float())
    with torch.no_grad():
        assert net.half()(x.half()).dtype == torch.float16


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('name', ['RFDN', 'SRVGGNetCompact', 'PAN'])
def test_a_network_that_is_half_beforehand_gives_what_one_gives_that_becomes_so(name, dtype):
    x = image(1, 3, 18, 20).to(dtype)
    pictures = []
    for half_before in (True, False):
        net = build(name)
        net.to(dtype if half_before else torch.float32)
        accelerate_(net, AMSRConfig(mode='dense', backend='native'))
        with torch.no_grad():
            if not half_before:
                net(x.float())
            pictures.append(net.to(dtype)(x))
    assert pictures[0].dtype == dtype and torch.equal(*pictures)


def test_follows_what_is_put_in_place_of_weights(accelerated):
    net, other = accelerated
    check(net, other)
    for one in accelerated:
        one.conv_first.weight = nn.Parameter(one.conv_first.weight.detach() * 2)
    check(net, other)
    twin = nn.Conv2d(3, net.conv_first.out_channels, 3, 1, 1)
    for one in accelerated:
        one.conv_first = twin
    check(net, other)
    for one in accelerated:
        one.to(memory_format=torch.channels_last)
        twin.weight.data.mul_(0.5)
    check(net, other)
    twin.weight.data = twin.weight.data.transpose(2, 3)  # the same bytes in the same place
    check(net, other)


@torch.no_grad()
def test_a_warm_pass_is_tens_of_calls(accelerated):
    net, _ = accelerated
    deep = build('MSRResNet')
    accelerate_(deep, AMSRConfig(mode='dense'))
    x = image(1, 3, 18, 20)
    for one in (net, deep):
        one(x)
        assert python_calls(lambda one=one: one(x)) < 90


def test_copies_and_pickles_start_anew(accelerated):
    net, other = accelerated
    check(net, other)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not twin.native._schedules
        with torch.no_grad():
            twin.conv_first.weight.mul_(2)
        check(net, other)
        check(twin, restore_(copy.deepcopy(twin)))


def test_what_watches_sees_the_plain_network(accelerated):
    net, other = accelerated
    x = image(1, 3, 18, 20)
    assert count(net, x).by_op == count(other, x).by_op
    seen = []
    handle = net.conv_first.register_forward_hook(lambda *_: seen.append(1))
    plain(net, x)
    handle.remove()
    assert seen == [1]
    net(x).sum().backward()
    assert net.conv_first.weight.grad is not None


def test_without_the_library_it_is_said(monkeypatch):
    monkeypatch.setattr('basicsr_amsr.execution.dense.form.library', lambda: None)
    with pytest.raises(UserError, match='native kernels are not there'):
        accelerate_(build('RFDN'), AMSRConfig(mode='dense', backend='native'))
