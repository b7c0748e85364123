"""Networks whose units a mask skips, by the native kernels: the reference's pictures, for every mask and size."""
import pytest
import torch

from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.backbones.skipping import marked_forward
from basicsr_amsr.execution.graph import run_by_torch
from basicsr_amsr.execution.graph.skipped_units import PlainTraces, units_of
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.skipping.units_form import UnitsForm
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.neighbourhoods import expand_patches
from tests.backbones.tiny import image, network
from tests.execution.skipping.test_calibrated import difference, patches_of
from tests.execution.test_torch_sparse import net_of
from tests.kernels import needs_kernels

NAMES = ['EDSR', 'CARN_M', 'CARN', 'RCAN', 'RFDN', 'PAN', 'SRResNet', 'MSRResNet', 'RRDBNet', 'FSRCNN']
HALF = HighFrequencyMask(keep=0.5, patch_size=4, smooth=3)


def marked(name, scale=4, **config):
    """A converted network, its image channels, and its traces."""
    net, channels = net_of(name, scale)
    accelerate_(net, AMSRConfig(selection=HALF, **config))
    return net, channels, Traces(marked_forward)


def check(name, kinds, sizes, size=4, batch=1, **config):
    net, channels, traces = marked(name, **config)
    form = UnitsForm(traces)
    for height, width in sizes:
        x = image(batch, channels, height, width).to(memory_format=torch.channels_last)
        units = units_of(traces.graph(net, x))
        for kind in kinds:
            chosen = patches_of(kind, x, size)

            def patches(rows, columns, chosen=chosen, height=height):
                return chosen, size * (rows // height)

            with torch.no_grad():
                wanted = run_by_torch.run(units.graph, net, x, lambda h, w: expand_patches(*patches(h, w), h, w))
            assert difference(form.run(net, x, patches), wanted) <= 1e-5, (height, width, kind)


@needs_kernels
@pytest.mark.parametrize('name', NAMES)
def test_every_mask(name):
    check(name, ['random', 'connected', 'empty', 'full'], [(21, 30)])


@needs_kernels
@pytest.mark.parametrize('name', ['EDSR', 'RCAN', 'CARN_M'])
def test_every_size(name):
    check(name, ['random', 'empty'], [(1, 1), (1, 6), (5, 8), (40, 33)])


@needs_kernels
@pytest.mark.parametrize(('size', 'batch'), [(8, 1), (4, 3)])
@pytest.mark.parametrize('name', ['RCAN', 'RFDN'])
def test_patches_and_batches(name, size, batch):
    check(name, ['random'], [(37, 26)], size=size, batch=batch)


@needs_kernels
@pytest.mark.parametrize('scale', [2, 3])
def test_scales_and_each_convolution_by_itself(scale):
    check('EDSR', ['random'], [(19, 28)], scale=scale, unit='conv')


@needs_kernels
@pytest.mark.parametrize('name', ['EDSR', 'RCAN', 'PAN'])
def test_bf16_is_near(name):
    net, channels, traces = marked(name)
    x = image(1, channels, 21, 30)
    chosen = patches_of('random', x, 4)
    graph = units_of(traces.graph(net, x)).graph
    with torch.no_grad():
        wanted = run_by_torch.run(graph, net, x, lambda h, w: expand_patches(chosen, 4, h, w))
        with torch.autocast('cpu', torch.bfloat16):
            autocast = run_by_torch.run(graph, net, x, lambda h, w: expand_patches(chosen, 4, h, w)).float()
    found = UnitsForm(traces).run(net, x, lambda h, w: (chosen, 4), 'bfloat16')
    error = [float((one - wanted).square().mean().sqrt()) for one in (found, autocast)]
    assert 0 < error[0] <= 1.5 * error[1]


@torch.no_grad()
@pytest.mark.parametrize('name', ['EDSR', 'RCAN', 'RFDN', 'CARN_M', 'PAN'])
def test_the_graph_is_the_form_that_trains(name):
    net, channels, traces = marked(name, mode='dense_masked')
    x = image(2, channels, 18, 25)
    marks = traces.graph(net, x)
    patches = HALF.patches(x)
    found = run_by_torch.run(units_of(marks).graph, net, x, lambda h, w: expand_patches(patches, 4, h, w))
    assert torch.allclose(found, net(x), atol=1e-6)
    net.set_variant('D')
    plain = PlainTraces(traces).graph(net, x)
    assert torch.allclose(run_by_torch.run(plain, net, x), net(x), atol=1e-6)
    assert not torch.allclose(found, net(x), atol=1e-4)


@needs_kernels
@torch.no_grad()
def test_units_of_unshuffled_pixels():
    net = network('RRDBNet', 2)
    x = image(1, 3, 24, 20)
    accelerate_(net, AMSRConfig(selection=HALF, mode='dense_masked'))
    wanted = net(x)
    accelerate_(net, AMSRConfig(selection=HALF, mode='sparse'))
    asked = []
    image_of = net.units.image
    net.units.image = lambda *args: asked.append(image_of(*args)) or asked[-1]
    assert torch.allclose(net(x), wanted, atol=1e-5)
    assert asked[0] is not None and float(net.last_keep) == pytest.approx(0.5, abs=0.1)


class Normed(torch.nn.Module):
    """A unit with norms of each pixel's channels: of its input, and of what skipped pixels do not have."""

    def __init__(self):
        super().__init__()
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(12, 12, 3, 1, 1) for _ in range(2))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(12) for _ in range(2))

    def forward(self, x):
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return x + y


@needs_kernels
@torch.no_grad()
def test_units_with_norms_of_each_pixel(monkeypatch):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, 1, 1), Normed(), Normed(), torch.nn.Conv2d(12, 12, 3, 1, 1),
                              torch.nn.PixelShuffle(2))
    for name, parameter in net.named_parameters():
        if 'norms' in name:
            parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    for size in ((1, 1), (21, 30)):
        x = image(1, 3, *size)
        plain = restore_(net)(x)
        accelerate_(net, AMSRConfig(selection=HALF, mode='dense_masked'))
        wanted = net(x)
        accelerate_(net, AMSRConfig(selection=HALF, mode='sparse'))
        patches = HALF.patches(x)
        by_kernels = net.units.image(net, x, lambda h, w, patches=patches: (patches, 4))
        assert difference(by_kernels, wanted) <= 1e-5
        monkeypatch.setattr(net.units, 'image', lambda *args: None)  # then torch runs them
        assert difference(net(x), wanted) <= 1e-5
    assert difference(wanted, plain) > 1e-3


class Pooled(torch.nn.Module):
    """A unit with something in it that looks at whole maps."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        return x + torch.nn.functional.interpolate(torch.nn.functional.max_pool2d(self.conv(x), 2), scale_factor=2)


def test_what_cannot_be_skipped_is_named():
    from basicsr_amsr.execution.graph.markers import marked as mark

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 1, 1), Pooled())
    traces = Traces(lambda net, x: mark(net[1], net[0](x)))
    with pytest.raises(Unreadable, match=r'max_pool2d.*cannot be skipped pixel by pixel'):
        units_of(traces.graph(net, image(1, 3, 8, 8)))
