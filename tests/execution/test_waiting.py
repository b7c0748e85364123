"""A pass on a GPU waits once, for the mask. Shown on tensors of a GPU without content: to read them is an error."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from basicsr_amsr import Calibration, host, load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.execution.torch_sparse.run_sparse import run_sparse
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.two_means import two_means
from tests.backbones.tiny import image
from tests.execution.native.programs import EXAMPLES
from tests.execution.test_torch_sparse import net_of, random_patches, random_prediction

SHAPE = (2, 3, 61, 83)


class Copies(TorchDispatchMode):
    """Counts copies between devices that the host waits for."""

    def __init__(self):
        super().__init__()
        self.blocking = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        if operator in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[1] if operator is torch.ops.aten.copy_.default else args[0]
            blocking = not (kwargs.get('non_blocking') or (operator is torch.ops.aten.copy_.default and len(args) > 2))
            self.blocking += blocking and source.device.type != result.device.type
        return result


@pytest.fixture
def waits(monkeypatch):
    """The masks that the host read; what it found is that about half of the patches are active."""
    read, masks, numbers = [], {}, np.random.default_rng(0)

    def on_host(mask):
        if mask.device.type == 'cuda':
            read.append(mask)
        return masks.setdefault(mask.shape, numbers.random(mask.shape) < 0.5)

    for module in ('amsr.accelerate', 'execution.torch_sparse.layout'):
        monkeypatch.setattr(f'basicsr_amsr.{module}.on_host', on_host)
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: tensor)
    host.constant.cache_clear()
    yield read
    host.constant.cache_clear()


def passes(net, waits):
    """A second pass over images without content; what it waits for."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        net, x = net.to('cuda'), torch.empty(SHAPE, device='cuda')
        net(x)
        waits.clear()
        with Copies() as copies:
            image = net(x)
    assert image.device.type == 'cuda' and isinstance(image, FakeTensor)
    assert not copies.blocking
    return waits


@pytest.mark.parametrize('name', ['realesr-animevideov3', 'RFDN_x4', 'CARN_M_x4'])
def test_calibrated_networks_wait_once(name, waits):
    calibration = Calibration.load(resolve(f'pretrained/{name}.amsr'))
    net = load_pretrained('CARN_M_x234', upscale=4) if name.startswith('CARN') else load_pretrained(name)
    net = net.eval()
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse', backend='torch'))
    assert len(passes(net, waits)) == 1


@pytest.mark.parametrize('selection', [
    HighFrequencyMask(keep=0.5, patch_size=4, smooth=3), HighFrequencyMask(level=0.01, patch_size=4),
    HighFrequencyMask(patch_size=4, smooth=3, noise_discount=1.0)], ids=['share', 'level', '2-means'])
@pytest.mark.parametrize('name', ['EDSR', 'RCAN', 'PAN'])
def test_units_wait_once(name, selection, waits):
    net = build({'type': name, 'upscale': 4}).eval()
    accelerate_(net, AMSRConfig(selection=selection, mode='sparse', backend='torch'))
    assert len(passes(net, waits)) == 1


@pytest.fixture
def ahead(monkeypatch):
    """What runs on a GPU, on this machine."""
    for module in ('host', 'selection.two_means'):
        monkeypatch.setattr(f'basicsr_amsr.{module}.runs_ahead', lambda device: True)


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_positions_are_those_of_nonzero(share, ahead):
    mask = torch.rand(1000, generator=torch.Generator().manual_seed(1)) < share
    assert torch.equal(host.positions(mask, int(mask.sum())), mask.nonzero()[:, 0])


@pytest.mark.parametrize('values', [torch.rand(3, 5000), torch.randint(0, 4, (2, 300)).float(), torch.ones(2, 9)])
def test_two_means_are_the_same(values, monkeypatch):
    expected = two_means(values)
    monkeypatch.setattr('basicsr_amsr.selection.two_means.runs_ahead', lambda device: True)
    found = two_means(values)
    assert torch.equal(found.high, expected.high) and torch.equal(found.threshold, expected.threshold)


@pytest.mark.parametrize(('height', 'width', 'size'), [(17, 30, 4), (19, 21, 1), (31, 17, 8)])
@pytest.mark.parametrize('name', ['RFDN', 'RCAN'])
def test_calibrated_pictures_are_the_same(name, height, width, size, ahead):
    net, _ = net_of(name)
    program = read_network(net)
    x, prediction = image(2, 3, height, width), random_prediction(program)
    patches = random_patches(x, size, 0.4)
    with torch.no_grad():
        torch.testing.assert_close(run_sparse(program, net, x, patches, size, prediction),
                                   run_masked(program, net, x, patches, size, prediction), rtol=1e-5, atol=1e-5)


@settings(max_examples=EXAMPLES)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.sampled_from([1, 2, 3, 4, 8, 16]),
       reach=st.integers(0, 9), share=st.sampled_from([0.0, 0.02, 0.3, 1.0]), seed=st.integers(0, 99))
def test_counts(height, width, size, reach, share, seed):
    patches = torch.rand(2, -(-height // size), -(-width // size),
                         generator=torch.Generator().manual_seed(seed)) < share
    layout = Layout(patches, size, height, width, reach)
    mask = layout.mask(1)
    near = F.max_pool2d(mask.float(), 2 * reach + 1, 1, reach).bool() & ~mask
    assert layout.band_pixels == int(near.sum())
    assert layout.skipped_of_images.tolist() == (~mask).sum((1, 2, 3)).tolist()
    for group in layout.groups:
        for part in (slice(0, group.count), slice(group.count // 2, group.count)):
            for offsets in (range(group.size), range(-1, group.size + 1), range(-3, group.size + 3, 3)):
                places = group.places(1, offsets, offsets)[part]
                assert group.missing(1, offsets, offsets, part) == int((places < 0).sum())
