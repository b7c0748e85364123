"""Whole units and a whole network at active patches by Triton's kernels, under its interpreter: as by torch
operators."""
import pytest
import torch
from torch import nn

from basicsr_amsr.execution.active import ActivePatches
from basicsr_amsr.execution.backends.choice import TRITON
from basicsr_amsr.execution.reading import read_block
from basicsr_amsr.execution.reference import dense_masked
from basicsr_amsr.execution.region.masked import run_masked
from basicsr_amsr.execution.region.read_network import read_network
from basicsr_amsr.execution.region.run_sparse import run_sparse
from basicsr_amsr.execution.sparse import run_unit
from tests.backbones.tiny import image
from tests.execution.test_region import net_of, random_patches, random_prediction
from tests.execution.test_sparse import UNITS


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
    if name != 'joined':
        return UNITS[name]()
    block = Joined()
    return read_block(block).bind(block)


def case(size, density, batch=3, height=10, width=13, dtype=torch.float32):
    torch.manual_seed(size)
    patches = torch.rand(batch, -(-height // size), -(-width // size)) < density
    return torch.randn(batch, 8, height, width).to(dtype), ActivePatches(patches, size, height, width, whole=True)


@pytest.mark.parametrize('size', [1, 4])
@pytest.mark.parametrize('name', [*UNITS, 'joined'])
def test_units_equal_the_dense_masked_reference(interpreter, monkeypatch, name, size):
    torch.manual_seed(0)
    x, active = case(size, 0.4)
    unit, skipped = unit_of(name), torch.randn(x.shape)
    if name != 'groups and a sigmoid':  # those are for torch operators
        monkeypatch.setattr(TRITON, 'fallback', None)
    out = skipped.clone(memory_format=torch.channels_last)
    run_unit(unit, x, active, out, backend='triton')
    torch.testing.assert_close(out, dense_masked(unit, x, active.mask, skipped), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('patches', [[(0, 0, 0)], [(2, 1, 1)], []])
def test_one_patch_and_none(interpreter, patches):
    torch.manual_seed(0)
    active = torch.zeros(3, 2, 2, dtype=torch.bool)
    for place in patches:
        active[place] = True
    x, active = torch.randn(3, 8, 9, 13), ActivePatches(active, 8, 9, 13, whole=True)
    unit = unit_of('residual block')
    torch.testing.assert_close(run_unit(unit, x, active, backend='triton'), dense_masked(unit, x, active.mask),
                               rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(interpreter, dtype):
    """Against the unit in double precision: three values are rounded, of sizes up to 4."""
    torch.manual_seed(0)
    x, active = case(4, 0.4, dtype=dtype)
    unit = unit_of('residual block')
    for stage in unit.stages:
        stage.to(dtype)
    result = run_unit(unit, x, active, backend='triton')
    for stage in unit.stages:
        stage.double()
    expected = dense_masked(unit, x.double(), active.mask)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=3 * 4 * torch.finfo(dtype).eps)


def test_a_unit_is_as_many_launches_as_it_has_convolutions(interpreter, monkeypatch):
    """Activation, sum and writing back are in the kernels: no other operator touches the rows."""
    from basicsr_amsr.profiling.macs import MacCounter

    x, active = case(4, 0.4)
    x = x.to(memory_format=torch.channels_last)
    unit, out = unit_of('residual block'), torch.empty_like(x)
    run_unit(unit, x, active, out=out, backend='triton')  # lists are made
    with MacCounter() as counter:
        run_unit(unit, x, active, out=out, backend='triton')
    assert counter.by_op['basicsr_amsr::convolve_rows'].calls == 2
    # new_empty of the inner values, 0 in their last row; views apart.
    written = {name for name, tally in counter.free.items() if tally.elements > 64}
    assert written <= {'aten::new_empty', 'aten::empty'} and not counter.uncounted


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
    x, active = case(size, 0.4, height=37, width=41)
    unit = unit_of(name)
    expected = dense_masked(unit, x, active.mask)
    for node in unit.nodes:
        if isinstance(node.call, nn.Module):
            node.call.cuda()
    on_gpu = ActivePatches(active.patches.cuda(), size, 37, 41, whole=True)
    with torch.backends.cudnn.flags(allow_tf32=False):
        result = run_unit(unit, x.cuda(), on_gpu, backend='triton')
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
