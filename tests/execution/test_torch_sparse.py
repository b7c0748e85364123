"""A whole network at active patches: what is read of it, and sparse = masked = the plain network with hooks."""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.graph.ops import Conv
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.prediction import Affine, LightTail, Prediction
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.execution.torch_sparse.run_sparse import run_sparse
from tests.backbones.tiny import image, network

NAMES = ['CARN', 'CARN_M', 'EDSR', 'MSRResNet', 'SRResNet', 'RCAN', 'RRDBNet', 'PAN', 'RFDN', 'FSRCNN', 'DnCNN']


def net_of(name, scale=4):
    net = network(name, 1 if name == 'DnCNN' else scale)
    with torch.no_grad():
        for parameter in net.parameters():  # so that nothing is nearly the identity
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    return net, 1 if name == 'DnCNN' else 3


def random_prediction(program, channels=3, kernel=3, seed=5):
    """Predictions that are far from what the network has there."""
    generator = torch.Generator().manual_seed(seed)

    def affine(value, times=2):
        rows = program.channels(value) * program.scale(value)**2
        weight = torch.randn(rows, times * program.channels(program.anchor), generator=generator) * 0.1
        narrow = None
        if value % 2:  # of low rank
            narrow = weight[:3]
            weight = torch.randn(rows, len(narrow), generator=generator) * 0.5
        return Affine(weight, torch.randn(rows, generator=generator) * 0.1, program.scale(value), narrow)

    last = program.output
    tail = LightTail(torch.randn(program.channels(last) * program.scale(last)**2, channels, kernel, kernel,
                                 generator=generator), affine(last, 1)) if program.form(last) == 'rows' else None
    return Prediction({value: affine(value) for value in program.contexts}, tail)


def random_patches(x, size, density):
    shape = (len(x), *(-(-side // size) for side in x.shape[2:]))
    return torch.rand(shape, generator=torch.Generator().manual_seed(7)) < density


def hooked(program, net, x, patches, size, prediction):
    """The plain network, every module that looks around given predictions at skipped pixels."""
    net, seen = copy.deepcopy(net), {}

    def mask(scale):
        wide = patches.repeat_interleave(size * scale, 1).repeat_interleave(size * scale, 2)
        return wide[:, None, :x.shape[2] * scale, :x.shape[3] * scale]

    def mixed(value, values):
        if value not in prediction.contexts:
            return values
        rectified = torch.cat([seen['anchor'], seen['anchor'].clamp(min=0)], 1)
        return torch.where(mask(program.scale(value)), values, prediction.contexts[value].map(rectified))

    def hook(value):
        def replace(module, args):
            inputs = program.inputs(value)
            parts = program.parts(inputs[0]) if program.facts[value].kind == 'conv' else inputs[:1]
            pieces = [mixed(part, values) for part, values in zip(
                parts, args[0].split([program.channels(i) for i in parts], 1), strict=True)]
            return (torch.cat(pieces, 1),)
        return replace

    anchor = program.graph.ops[program.anchor - 1].weight.rpartition('.')[0]
    net.get_submodule(anchor).register_forward_hook(lambda module, args, output: seen.update(anchor=output.clone()))
    for value, op in enumerate(program.graph.ops, 1):
        if value > program.anchor and program.looks_around(value) and any(
                part in program.contexts for i in op.inputs for part in program.parts(i)):
            path = op.weight.rpartition('.')[0] if isinstance(op, Conv) else op.where.partition(':')[0]
            module = net.get_submodule(path)
            assert not list(module.children())
            module.register_forward_pre_hook(hook(value))
    with torch.no_grad():
        result = net(x)
    last = program.scale(program.output)
    return result if prediction.tail is None else torch.where(mask(last), result,
                                                              prediction.tail.map(x, seen['anchor']))


@pytest.mark.parametrize(('size', 'height', 'width'), [(1, 9, 14), (4, 21, 18), (8, 16, 33)])
@pytest.mark.parametrize('name', NAMES)
def test_sparse_equals_masked_and_the_plain_network_with_hooks(name, size, height, width):
    net, channels = net_of(name)
    program = read_network(net, channels, (3, height, width))
    prediction = random_prediction(program, channels)
    x = image(3, channels, height, width)
    for density in (0.0, 0.4, 1.0):
        patches = random_patches(x, size, density)
        with torch.no_grad():
            masked = run_masked(program, net, x, patches, size, prediction)
            sparse = run_sparse(program, net, x, patches, size, prediction)
            plain = net(x)
        torch.testing.assert_close(sparse, masked, rtol=1e-5, atol=1e-5)
        if name != 'CARN_M':  # whose units share their modules, so that hooks do not tell them apart
            torch.testing.assert_close(masked, hooked(program, net, x, patches, size, prediction), rtol=1e-5, atol=1e-5)
        if density == 1.0:
            torch.testing.assert_close(sparse, plain, rtol=1e-5, atol=1e-5)
        else:
            assert (masked - plain).abs().max() > 1e-2


@pytest.mark.parametrize(('size', 'height', 'width', 'sides'), [
    (1, 40, 41, [8, 4, 1]), (4, 70, 67, [16, 8, 4]), (3, 30, 30, [3]), (16, 40, 40, [16])])
@pytest.mark.parametrize('name', ['RFDN', 'RCAN', 'PAN', 'CARN_M'])
def test_patches_computed_together_give_the_same(name, size, height, width, sides, monkeypatch):
    monkeypatch.setattr('basicsr_amsr.execution.torch_sparse.patches.LEAST', 128)
    monkeypatch.setattr('basicsr_amsr.execution.torch_sparse.patches.CHUNK_CPU', 1 << 14)
    net, _ = net_of(name)
    program = read_network(net)
    x, prediction = image(2, 3, height, width), random_prediction(program)
    patches = random_patches(x, size, 0.98)
    assert [group.size for group in Layout(patches, size, height, width, 1).groups] == sides
    with torch.no_grad():
        torch.testing.assert_close(run_sparse(program, net, x, patches, size, prediction),
                                   run_masked(program, net, x, patches, size, prediction), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', ['CARN', 'EDSR', 'PAN', 'SRResNet'])
def test_every_scale(name, scale):
    net, _ = net_of(name, scale)
    program = read_network(net)
    x = image(2, 3, 13, 11)
    patches, prediction = random_patches(x, 4, 0.5), random_prediction(program)
    with torch.no_grad():
        torch.testing.assert_close(run_sparse(program, net, x, patches, 4, prediction),
                                   run_masked(program, net, x, patches, 4, prediction), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['RFDN', 'RCAN', 'PAN'])
def test_half_precision(name):
    net, _ = net_of(name)
    net = net.bfloat16()
    program = read_network(net, 3, (2, 17, 12))
    x = image(2, 3, 17, 12).bfloat16()
    patches, prediction = random_patches(x, 4, 0.5), random_prediction(program).to(x)
    with torch.no_grad():
        masked = run_masked(program, net, x, patches, 4, prediction)
        sparse = run_sparse(program, net, x, patches, 4, prediction)
    assert sparse.dtype == torch.bfloat16
    assert (sparse.float() - masked.float()).abs().max() < 0.03 * masked.abs().max()


def whole_maps(name):
    """The modules behind the first convolution that run on whole maps."""
    program = read_network(network(name, 4))
    return [op.where.partition(':')[0] for value, op in enumerate(program.graph.ops, 1)
            if value > program.anchor and program.form(value) == 'map' and isinstance(op, Conv)], program


def test_what_stays_dense():
    for name in ('EDSR', 'PAN', 'CARN'):
        assert whole_maps(name)[0] == []
    assert whole_maps('FSRCNN')[0] == ['upsampler.deconv']


def test_of_esa_only_the_overview_needs_the_whole_map():
    paths, program = whole_maps('RFDN')
    convolutions = ('conv_stride', 'conv_group.0', 'conv_group.2', 'conv_group.4')
    assert paths == [f'body.blocks.{i}.esa.{conv}' for i in range(2) for conv in convolutions]
    assert {program.channels(value) for value in program.everywhere} == {2}  # of 8


def test_contexts_are_what_convolutions_read():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.one = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 1)
            self.two, self.three = nn.Conv2d(9, 6, 3, padding=1), nn.Conv2d(6, 12, 5, padding=2)
            self.up = nn.PixelShuffle(2)

        def forward(self, x):
            z = self.stem(x)
            y = F.relu(self.one(z))
            return self.up(self.three(self.two(torch.cat([z, y], 1))))

    program = read_network(Net().eval())
    assert program.anchor == 1 and [fact.kind for fact in program.facts[1:]] == [
        'map', 'conv', 'pointwise', 'cat', 'conv', 'conv', 'shuffle']
    # The anchor is known everywhere; of the concatenation only the other part has to be predicted.
    assert program.contexts == {3: (1, 1), 5: (2, 2)} and program.halo == 2
    assert [program.scale(value) for value in (1, 5, 7)] == [1, 1, 2]
    assert program.stages == [[1], [2, 3, 4], [5], [6, 7]]


def test_what_nothing_is_known_of_runs_on_whole_maps():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return self.conv(torch.flip(x, (2,)).cumsum(3))

    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), Odd(),
                        nn.Conv2d(4, 3, 3, padding=1)).eval()
    program = read_network(net)
    assert [fact.form for fact in program.facts[1:]] == ['map', 'rows', 'map', 'map', 'rows', 'rows']
    assert program.contexts == {2: (0, 0), 5: (1, 1)} and program.everywhere == {2}
    x = image(2, 3, 12, 10)
    patches, prediction = random_patches(x, 4, 0.5), random_prediction(program)
    with torch.no_grad():
        torch.testing.assert_close(run_sparse(program, net, x, patches, 4, prediction),
                                   run_masked(program, net, x, patches, 4, prediction), rtol=1e-5, atol=1e-5)


def test_batch_normalisation_and_changes_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True)
            self.last = nn.Conv2d(4, 3, 3, padding=1)

        def forward(self, x):
            x = self.stem(x)
            y = self.conv(self.act(x))  # x is changed
            y += self.norm(x)
            return self.last(y)

    net = Net().eval()
    net.norm.running_mean.normal_()
    program, x = read_network(net), image(2, 3, 12, 10)
    assert net.norm.num_batches_tracked == 0
    with torch.no_grad():
        full = torch.ones(2, 3, 3, dtype=torch.bool)
        torch.testing.assert_close(run_sparse(program, net, x, full, 4, random_prediction(program)), net(x))


@pytest.mark.parametrize(('net', 'why'), [
    (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), 'cannot be read'),
    (nn.Sequential(nn.ReLU()), 'no convolution'),
    (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.PixelShuffle(2)), 'nothing can be skipped'),
    (nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 3, 3, padding=1)), 'another size than the image'),
])
def test_networks_without_anything_to_skip_are_refused(net, why):
    with pytest.raises(Unreadable, match=why):
        read_network(net.eval())
