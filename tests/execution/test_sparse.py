import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.execution.active import ActivePatches
from basicsr_amsr.execution.reference import dense_masked
from basicsr_amsr.execution.sparse import run_unit
from basicsr_amsr.execution.unit import ConvUnit, replace

UNITS = {
    'residual block': lambda: ConvUnit((nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))),
    'one convolution, no residual': lambda: ConvUnit((nn.Conv2d(8, 8, 3, padding='same', bias=False),), replace),
    'wide inside, three convolutions': lambda: ConvUnit((
        nn.Conv2d(8, 12, 1), nn.PReLU(12), nn.Conv2d(12, 12, 3, padding=1), nn.GELU(), nn.Conv2d(12, 8, 1))),
    'groups and a sigmoid': lambda: ConvUnit((
        nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.Sigmoid(), nn.Conv2d(8, 8, 3, padding=1, groups=2))),
    'dilation and oblong kernels': lambda: ConvUnit((
        nn.Conv2d(8, 6, 3, padding=2, dilation=2), nn.LeakyReLU(0.1), nn.Conv2d(6, 8, (1, 5), padding=(0, 2)))),
    'activation first, scaled sum': lambda: ConvUnit(
        (nn.Sigmoid(), nn.Conv2d(8, 8, 5, padding=2), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1)),
        lambda x, body: torch.relu(x + 0.1 * body)),
}
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-5}


def random_case(seed, batch, height, width, size, density):
    torch.manual_seed(seed)
    patches = torch.rand(batch, -(-height // size), -(-width // size)) < density
    return torch.randn(batch, 8, height, width), ActivePatches(patches, size, height, width)


@pytest.mark.parametrize('name', UNITS)
@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(1, 21), width=st.integers(1, 21),
       size=st.sampled_from([1, 3, 4, 8]), density=st.sampled_from([0.0, 0.05, 0.4, 0.9, 1.0]),
       chunk=st.sampled_from([1, 3, 1000]), seed=st.integers(0, 99))
def test_sparse_equals_the_dense_masked_reference(name, batch, height, width, size, density, chunk, seed):
    x, active = random_case(seed, batch, height, width, size, density)
    active.chunk = chunk
    unit = UNITS[name]()
    before = x.clone()
    expected = dense_masked(unit, x, active.mask)
    torch.testing.assert_close(run_unit(unit, x, active), expected, **TOLERANCE)
    assert torch.equal(x, before)
    skipped = torch.randn(x.shape)
    out = skipped.clone(memory_format=torch.channels_last)
    result = run_unit(unit, x, active, out)
    assert result is out
    torch.testing.assert_close(result, dense_masked(unit, x, active.mask, skipped), **TOLERANCE)


@pytest.mark.parametrize('size', [1, 8])
def test_lists_are_made_once_and_serve_units_of_other_shapes(size):
    x, active = random_case(0, 3, 19, 23, size, 0.4)
    for name in [*UNITS, *UNITS]:
        unit = UNITS[name]()
        torch.testing.assert_close(run_unit(unit, x, active), dense_masked(unit, x, active.mask),
                                   **TOLERANCE)
        kept = {key: id(value) for key, value in active._lists.items()}
    run_unit(unit, x, active)
    assert {key: id(value) for key, value in active._lists.items()} == kept


def test_all_active_is_the_dense_unit_to_the_bit():
    x, active = random_case(0, 2, 17, 13, 4, 1.0)
    for make in UNITS.values():
        unit = make()
        assert torch.equal(run_unit(unit, x, active), unit.dense(x))
        assert torch.equal(dense_masked(unit, x, active.mask), unit.dense(x))


def test_masked_by_hand():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    unit = ConvUnit((conv, conv), replace)
    x = torch.ones(1, 1, 5, 5)
    mask = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    mask[0, 0, 2, 2:4] = True
    # The inner values are 9, at the right border 6: the mask keeps two of the nine that a pixel sums up.
    assert dense_masked(unit, x, mask)[0, 0, 2].tolist() == [1, 1, 18, 18, 1]


def test_identity_per_convolution_is_a_unit_of_one():
    torch.manual_seed(0)
    first, second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    x, active = random_case(1, 3, 11, 14, 1, 0.4)
    expected = torch.where(active.mask, first(x), x).relu()
    expected = torch.where(active.mask, second(expected), expected)
    result = run_unit(ConvUnit((first,), replace), x, active).relu()
    torch.testing.assert_close(run_unit(ConvUnit((second,), replace), result, active), expected, **TOLERANCE)


def test_double_precision_and_other_memory_formats():
    x, active = random_case(3, 3, 15, 18, 4, 0.5)
    unit = UNITS['residual block']()
    for module in unit.stages:
        module.double()
    x = x.double().to(memory_format=torch.channels_last)
    torch.testing.assert_close(run_unit(unit, x, active), dense_masked(unit, x, active.mask), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('stages', [
    (nn.Conv2d(8, 8, 3, padding=1, stride=2),), (nn.Conv2d(8, 8, 3),), (nn.Conv2d(8, 8, 2, padding='same'),),
    (nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect'),), (nn.Conv2d(8, 4, 1),), (nn.ReLU(),),
    (nn.Conv2d(8, 8, 1), nn.AvgPool2d(3, 1, 1))])
def test_units_that_cannot_be_skipped_are_refused(stages):
    with pytest.raises(UserError, match='unit: '):
        ConvUnit(stages)


def test_mistakes_are_named():
    x, active = random_case(0, 1, 8, 8, 4, 0.5)
    unit = UNITS['residual block']()
    with pytest.raises(UserError, match='8x8'):
        run_unit(unit, x[..., :4], active)
    with pytest.raises(UserError, match='channels-last'):
        run_unit(unit, x, active, out=torch.zeros(1, 8, 8, 8))
    with pytest.raises(UserError, match='2x2'):
        ActivePatches(torch.ones(1, 2, 3, dtype=torch.bool), 4, 8, 8)


@pytest.mark.cuda
@pytest.mark.parametrize('size', [1, 8])
def test_on_cuda(size):
    x, active = random_case(0, 3, 37, 41, size, 0.4)
    unit = UNITS['residual block']()
    expected = dense_masked(unit, x, active.mask)
    for module in unit.stages:
        module.cuda()
    on_gpu = ActivePatches(active.patches.cuda(), size, 37, 41)
    with torch.backends.cudnn.flags(allow_tf32=False):
        torch.testing.assert_close(run_unit(unit, x.cuda(), on_gpu).cpu(), expected, **TOLERANCE)
