"""Networks without an adapter: what is found, and that it equals the plain network with masks."""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.structure import is_residual, residual_blocks
from basicsr_amsr.execution.graph import run_by_torch
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.run_unit import run_unit
from basicsr_amsr.execution.torch_sparse.unit import read_unit
from tests.amsr.test_accelerate import Chosen, mask_of, run
from tests.backbones.tiny import image, network
from tests.execution.test_units import masked


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(True), nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, x):
        out = self.body(x)
        out += x
        return out


class Scaled(nn.Module):
    """Activation first; a learnt scale; normalisation."""

    def __init__(self, inplace=False):
        super().__init__()
        self.act = nn.LeakyReLU(0.3, inplace=inplace)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.randn(8, 1, 1))

    def forward(self, x):
        return F.relu(x * 0.5 + self.norm(self.conv(self.act(x))) * self.scale) + x


class InPlace(Scaled):
    """The activation changes the input, so that what is added is no longer the input: no residual block."""

    def __init__(self):
        super().__init__(inplace=True)


class Dense(nn.Module):
    """Concatenations, and an attention over the channels before another convolution."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(12, 8, 5, padding=2)
        self.squeeze, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        out = self.conv2(torch.cat([x, F.gelu(self.conv1(x))], dim=1))
        out = out * self.squeeze(out.mean((2, 3), keepdim=True)).sigmoid()
        return x + self.last(torch.tanh(out) - x)


class Toy(nn.Module):
    """Each block twice, one of them among pixels of the output; and blocks that cannot be skipped."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Plain(), Scaled(), nn.Sequential(Dense(), Plain()))
        self.no_skip = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.fine = Plain()
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        feature = self.first(x)
        feature = feature + self.no_skip(self.blocks(feature))
        return self.last(self.fine(F.interpolate(feature, scale_factor=2)))


def toy():
    torch.manual_seed(0)
    net = Toy()
    net(torch.rand(4, 3, 16, 16))  # for the running statistics
    return net.eval()


@pytest.mark.parametrize('density', [0.0, 0.4, 1.0])
@pytest.mark.parametrize('patch_size', [1, 4])
def test_a_network_never_seen(patch_size, density):
    net, x, selection = toy(), image(3, 3, 13, 18), Chosen(density, patch_size)
    report = accelerate_(net)
    assert report.by == 'structure'
    assert report.converted == {'blocks.0': 'Plain', 'blocks.1': 'Scaled', 'blocks.2.0': 'Dense', 'blocks.2.1': 'Plain',
                                'fine': 'Plain'}
    assert report.dense == ('first', 'no_skip.0', 'last')
    twin = restore_(copy.deepcopy(net))
    mask = mask_of(selection, x)
    wide = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    twin.blocks[2][0].squeeze.register_forward_pre_hook(
        lambda m, args: (average.pop(),))
    average = []
    twin.blocks[2][0].conv2.register_forward_hook(lambda m, args, out: average.append(
        (out * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)))
    for path in report.converted:
        block = twin.get_submodule(path)
        block.register_forward_pre_hook(lambda m, args: setattr(m, 'given', args[0].clone()))
        block.register_forward_hook(
            lambda m, args, out: torch.where(wide if out.shape[2] == 26 else mask, out, m.given))
    inner = {'blocks.0.body.2': 0, 'blocks.2.0.conv2': 8, 'blocks.2.0.last': 0, 'blocks.2.1.body.2': 0,
             'fine.body.2': 0}
    for path, first in inner.items():  # channels from there on come from convolutions of the unit
        twin.get_submodule(path).register_forward_pre_hook(lambda m, args, first=first: torch.cat(
            [args[0][:, :first], args[0][:, first:] * (wide if args[0].shape[2] == 26 else mask)], 1))
    with torch.no_grad():
        expected = twin(x)
    for mode in ('sparse', 'dense_masked'):
        torch.testing.assert_close(run(net, x, selection, mode), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(restore_(net)(x), toy()(x))


def test_finds_what_the_adapters_name():
    for name in ('EDSR', 'SRResNet', 'MSRResNet', 'RCAN', 'RRDBNet', 'PAN', 'CARN_M'):
        net = network(name, 2)
        found = residual_blocks(net)
        assert list(found) == list(accelerate_(net).converted), name


@pytest.mark.parametrize('size', [1, 3, 8])
@pytest.mark.parametrize('make', [Plain, Scaled, InPlace, Dense])
def test_blocks_equal_their_reference(make, size):
    torch.manual_seed(1)
    module = make().eval()
    unit = read_unit(module)
    assert is_residual(unit.graph) == (make is not InPlace)
    x = torch.randn(3, 8, 17, 14)
    with torch.no_grad():
        torch.testing.assert_close(run_by_torch.run(unit.graph, module, x), module(x.clone()))
    for density in (0.05, 0.5, 0.9):
        patches = torch.rand(3, -(-17 // size), -(-14 // size)) < density
        patches[1] = False
        layout, before = Layout(patches, size, 17, 14, 0), x.clone()
        torch.testing.assert_close(run_unit(unit, module, x, layout), masked(module, x, layout), rtol=1e-5, atol=1e-5)
        assert torch.equal(x, before)


def test_what_lies_outside_the_mask_is_zero_inside_but_for_the_input_itself():
    """By hand: the second convolution reads the input at all pixels, the first one's values at active ones."""
    class Hand(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Conv2d(n, 1, 3, padding=1, bias=False) for n in (1, 2))
            nn.init.ones_(self.a.weight)
            nn.init.ones_(self.b.weight)

        def forward(self, x):
            return self.b(torch.cat([x, self.a(x)], 1)) + x

    module = Hand()
    x, patches = torch.ones(1, 1, 5, 5), torch.zeros(1, 5, 5, dtype=torch.bool)
    patches[0, 2, 2:4] = True
    pixels, squares = Layout(patches, 1, 5, 5, 0), Layout(torch.ones(1, 3, 3, dtype=torch.bool).tril(), 2, 5, 5, 0)
    assert masked(module, x, pixels)[0, 0, 2].tolist() == [1, 1, 9 + 18 + 1, 9 + 18 + 1, 1]
    for layout in (pixels, squares):
        torch.testing.assert_close(run_unit(read_unit(module), module, x, layout), masked(module, x, layout))


def test_configuration_defaults_halve_the_patches():
    net, x = toy(), image(1, 3, 32, 32)
    accelerate_(net, AMSRConfig())
    with torch.no_grad():
        net(x)
    assert float(net.last_keep) == 0.5
