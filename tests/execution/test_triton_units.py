"""Whole units and a whole network at active patches by Triton's kernels, under its interpreter: as by torch
operators."""
import pytest
import torch
from torch import nn

from basicsr_amsr.execution.backends.choice import TRITON
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.execution.torch_sparse.run_sparse import run_sparse
from tests.backbones.tiny import image
from tests.execution.test_torch_sparse import net_of, random_patches, random_prediction
from tests.execution.test_units import UNITS, masked, sparse


class Joined(nn.Module):
    """Concatenations that a 3×3 and a 1×1 convolution read, attention, and a scaled sum."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8 + 6, 5, 3, padding=1)
        self.join, self.squeeze = nn.Conv2d(8 + 6 + 5, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        first = torch.relu(self.first(x))
        second = self.second(torch.cat([x, first], 1))
        joined = self.join(torch.cat([x, first, second], 1))
        return x + 0.5 * (joined * torch.sigmoid(self.squeeze(joined.mean((2, 3), keepdim=True))))


def unit_of(name):
    return UNITS[name]() if name != 'joined' else Joined()


def case(size, density, batch=3, height=10, width=13, dtype=torch.float32):
    torch.manual_seed(size)
    patches = torch.rand(batch, -(-height // size), -(-width // size)) < density
    return torch.randn(batch, 8, height, width).to(dtype), Layout(patches, size, height, width, 0, whole=True)


@pytest.mark.parametrize('size', [1, 4])
@pytest.mark.parametrize('name', [*UNITS, 'joined'])
def test_units_equal_the_dense_masked_reference(interpreter, monkeypatch, name, size):
    torch.manual_seed(0)
    x, layout = case(size, 0.4)
    module = unit_of(name)
    if name != 'groups and a sigmoid':  # those are for torch operators
        monkeypatch.setattr(TRITON, 'fallback', None)
    result = sparse(module, x, layout, backend='triton')
    torch.testing.assert_close(result, masked(module, x, layout), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('patches', [[(0, 0, 0)], [(2, 1, 1)], []])
def test_one_patch_and_none(interpreter, patches):
    torch.manual_seed(0)
    active = torch.zeros(3, 2, 2, dtype=torch.bool)
    for place in patches:
        active[place] = True
    x, layout = torch.randn(3, 8, 9, 13), Layout(active, 8, 9, 13, 0, whole=True)
    module = unit_of('residual block')
    torch.testing.assert_close(sparse(module, x, layout, backend='triton'), masked(module, x, layout), rtol=1e-5,
                               atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(interpreter, dtype):
    """Against the unit in double precision: three values are rounded, of sizes up to 4."""
    torch.manual_seed(0)
    x, layout = case(4, 0.4, dtype=dtype)
    module = unit_of('residual block').to(dtype)
    result = sparse(module, x, layout, backend='triton')
    expected = masked(module.double(), x.double(), layout)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=3 * 4 * torch.finfo(dtype).eps)


def test_a_unit_is_as_many_launches_as_it_has_convolutions(interpreter, monkeypatch):
    """Activation, sum and writing back are in the kernels: no other operator touches the rows."""
    from basicsr_amsr.execution.counter import MacCounter

    x, layout = case(4, 0.4)
    x, module = x.to(memory_format=torch.channels_last), unit_of('residual block')
    sparse(module, x, layout, backend='triton')  # lists are made, and memory is there
    with MacCounter() as counter:
        sparse(module, x, layout, backend='triton')
    assert counter.by_op['basicsr_amsr::convolve_rows'].calls == 2
    # What skipped pixels keep is copied; views apart.
    written = {name for name, tally in counter.free.items() if tally.elements > 64}
    assert written <= {'aten::clone'} and not counter.uncounted


@pytest.mark.parametrize('name, size', [('CARN', 4), ('EDSR', 1), ('RFDN', 1), ('RFDN', 4), ('PAN', 4), ('RRDBNet', 4)])
def test_a_network_at_active_patches(interpreter, name, size):
    net, channels = net_of(name)
    program, x = read_network(net, channels, (2, 9, 10)), image(2, channels, 9, 10)
    patches, prediction = random_patches(x, size, 0.4), random_prediction(program)
    by_triton = run_sparse(program, net, x, patches, size, prediction, 'triton')
    torch.testing.assert_close(by_triton, run_sparse(program, net, x, patches, size, prediction), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        expected = run_masked(program, net, x, patches, size, prediction)
    torch.testing.assert_close(by_triton, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize('size', [1, 8])
@pytest.mark.parametrize('name', [*UNITS, 'joined'])
def test_on_cuda(name, size):
    pytest.importorskip('triton')
    torch.manual_seed(0)
    x, layout = case(size, 0.4, height=37, width=41)
    module = unit_of(name)
    expected = masked(module, x, layout)
    on_gpu = Layout(layout.patches.cuda(), size, 37, 41, 0, whole=True)
    with torch.backends.cudnn.flags(allow_tf32=False):
        result = sparse(module.cuda(), x.cuda(), on_gpu, backend='triton')
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['EDSR', 'RFDN'])
def test_a_whole_network_under_autocast(interpreter, name):
    net, _ = net_of(name)
    program, x = read_network(net, 3, (2, 9, 12)), image(2, 3, 9, 12)
    patches, prediction = random_patches(x, 4, 0.5), random_prediction(program)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        result = run_sparse(program, net, x, patches, 4, prediction, backend='triton')
        expected = run_sparse(program, net, x, patches, 4, prediction)
    assert (result.float() - expected.float()).abs().max() < 0.03 * expected.abs().max()
