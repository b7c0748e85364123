"""A calibrated network by the native kernels makes the pictures of the torch executor, for every mask and size."""
import pytest
import torch
from torch import nn

from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.skipping.calibrated import CalibratedForm
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from tests.backbones.tiny import image
from tests.execution.graph.networks import build
from tests.execution.test_torch_sparse import net_of, random_prediction
from tests.kernels import needs_kernels

pytestmark = needs_kernels
NAMES = ['CARN_M', 'RFDN', 'PAN', 'RCAN', 'SRResNet', 'EDSR', 'MSRResNet', 'CARN', 'RRDBNet', 'DnCNN']


def patches_of(kind, x, size):
    """Masks of a batch."""
    generator = torch.Generator().manual_seed(7)
    rows, columns = (-(-side // size) for side in x.shape[2:])
    patches = torch.rand(len(x), rows, columns, generator=generator)
    if kind == 'empty':
        return patches < 0
    if kind == 'full':
        return patches < 2
    if kind == 'connected':
        y, x_ = torch.arange(rows)[:, None], torch.arange(columns)
        return ((y - rows / 2)**2 + (x_ - columns / 3)**2 < (rows * columns) / 6).expand(len(x), -1, -1)
    return patches < 0.4


def difference(found, wanted):
    """The largest, in parts of the range."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    return float((found - wanted).abs().max() / (wanted.max() - wanted.min() + 1e-3))


def check(name, kinds, sizes, size=4, scale=4, batch=1, tolerance=1e-4):
    check_of(*net_of(name, scale), kinds, sizes, size, batch, tolerance)


def check_of(net, channels, kinds, sizes, size=4, batch=1, tolerance=1e-4):
    program = read_network(net)
    prediction, form = random_prediction(program, channels), CalibratedForm()
    for height, width in sizes:
        x = image(batch, channels, height, width).to(memory_format=torch.channels_last)
        for kind in kinds:
            patches = patches_of(kind, x, size)
            with torch.no_grad():
                wanted = run_masked(program, net, x, patches, size, prediction)
            found = form.run(net, x, patches, size, prediction)
            assert difference(found, wanted) <= tolerance, (height, width, kind)


@pytest.mark.parametrize('name', NAMES)
def test_every_mask(name):
    check(name, ['random', 'connected', 'empty', 'full'], [(21, 30)])


@pytest.mark.parametrize('name', ['CARN_M', 'RCAN', 'EDSR'])
def test_every_size(name):
    check(name, ['random', 'empty'], [(1, 1), (1, 6), (2, 9), (3, 3), (5, 8), (8, 8), (13, 16), (40, 33)])


@pytest.mark.parametrize('name', ['RFDN', 'PAN'])
def test_every_size_that_it_takes(name):
    check(name, ['random', 'empty'], [(15, 16), (17, 23), (24, 24), (31, 18)])


@pytest.mark.parametrize(('size', 'batch'), [(8, 1), (16, 1), (4, 3)])
@pytest.mark.parametrize('name', ['CARN_M', 'RFDN', 'RCAN'])
def test_patches_and_batches(name, size, batch):
    check(name, ['random'], [(37, 26)], size, batch=batch)


@pytest.mark.parametrize('scale', [2, 3])
@pytest.mark.parametrize('name', ['CARN_M', 'EDSR', 'PAN', 'RCAN'])
def test_scales(name, scale):
    check(name, ['random', 'connected'], [(19, 28)], scale=scale)


@pytest.mark.parametrize('name', ['CARN_M', 'RFDN', 'PAN', 'RCAN', 'EDSR'])
def test_bf16_is_near(name):
    net, channels = net_of(name)
    program, x = read_network(net), image(1, channels, 21, 30)
    prediction, patches = random_prediction(program, channels), patches_of('random', image(1, 1, 21, 30), 4)
    with torch.no_grad():
        wanted = run_masked(program, net, x, patches, 4, prediction)
        with torch.autocast('cpu', torch.bfloat16):
            autocast = run_masked(program, net, x, patches, 4, prediction).float()
    found = CalibratedForm().run(net, x, patches, 4, prediction, 'bfloat16')
    error = [float((one - wanted).square().mean().sqrt()) for one in (found, autocast)]
    assert 0 < error[0] <= 1.5 * error[1]


@pytest.mark.parametrize(('name', 'sizes'), [
    ('MoSR', [(1, 1), (5, 8), (21, 30)]),
    ('SAFMN', [(48, 40)]),  # whose pooled maps have the image's grid as a multiple; read for one size
])
def test_norms_of_each_pixel(name, sizes):
    check_of(build(name), 3, ['random', 'connected', 'empty', 'full'], sizes)
    check_of(build(name), 3, ['random'], sizes[-1:], batch=3)


class Halved(nn.Module):
    """Half of it runs at half of the size, in front of a pixel shuffle."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.smaller, self.larger = nn.Conv2d(16, 16, 2, 2), nn.Conv2d(16, 64, 3, 1, 1)
        self.last = nn.Conv2d(32, 3, 1)

    def forward(self, x):
        x = self.first(x)
        shuffled = nn.functional.pixel_shuffle(self.larger(self.smaller(x)), 2)
        return self.last(torch.cat([self.second(x), shuffled], 1))


def test_small_maps_that_are_shuffled_to_the_image_are_refused():
    net = Halved().eval()
    program = read_network(net)
    x = image(1, 3, 24, 32)
    with pytest.raises(Unreadable, match=r'larger: conv2d.* enlarges maps that are smaller than the image'):
        CalibratedForm().run(net, x, patches_of('random', x, 4), 4, random_prediction(program))
