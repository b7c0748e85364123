"""Units of networks: what is read off a module, and the active patches alone = the dense-masked reference."""
import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.backbones.skips import Layer
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.run_unit import run_unit
from basicsr_amsr.execution.torch_sparse.unit import read_unit
from basicsr_amsr.selection.neighbourhoods import expand_patches


class Block(nn.Module):
    """combine(x, stages(x))."""

    def __init__(self, *stages, combine=lambda x, body: x + body):
        super().__init__()
        self.stages, self.combine = nn.Sequential(*stages), combine

    def forward(self, x):
        return self.combine(x, self.stages(x))


def replace(x, body):
    return body


UNITS = {
    'residual block': lambda: Block(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)),
    'one convolution, no residual': lambda: Block(nn.Conv2d(8, 8, 3, padding='same', bias=False), combine=replace),
    'wide inside, three convolutions': lambda: Block(
        nn.Conv2d(8, 12, 1), nn.PReLU(12), nn.Conv2d(12, 12, 3, padding=1), nn.GELU(), nn.Conv2d(12, 8, 1)),
    'groups and a sigmoid': lambda: Block(
        nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.Sigmoid(), nn.Conv2d(8, 8, 3, padding=1, groups=2)),
    'dilation and oblong kernels': lambda: Block(
        nn.Conv2d(8, 6, 3, padding=2, dilation=2), nn.LeakyReLU(0.1), nn.Conv2d(6, 8, (1, 5), padding=(0, 2))),
    'activation first, scaled sum': lambda: Block(
        nn.Sigmoid(), nn.Conv2d(8, 8, 5, padding=2), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1),
        combine=lambda x, body: torch.relu(x + 0.1 * body)),
    'a scaled sum at last': lambda: Block(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
                                          combine=lambda x, body: x + body * 0.3),
    'twice the body': lambda: Block(nn.Conv2d(8, 8, 3, padding=1), combine=lambda x, body: x + body + body * x),
}
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-5}


def random_case(seed, batch, height, width, size, density, **options):
    torch.manual_seed(seed)
    patches = torch.rand(batch, -(-height // size), -(-width // size)) < density
    return torch.randn(batch, 8, height, width), Layout(patches, size, height, width, 0, **options)


@torch.no_grad()
def masked(module, x, layout, unit=None):
    """The dense-masked reference."""
    return (unit or read_unit(module)).masked(module, x, lambda h, w: expand_patches(layout.patches, layout.size, h, w))


def sparse(module, x, layout, **options):
    return run_unit(read_unit(module), module, x, layout, **options)


@pytest.mark.parametrize('name', UNITS)
@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(1, 21), width=st.integers(1, 21),
       size=st.sampled_from([1, 3, 4, 8]), density=st.sampled_from([0.0, 0.05, 0.4, 0.9, 1.0]),
       chunk=st.sampled_from([1, 1 << 10, 1 << 20]), seed=st.integers(0, 99))
def test_sparse_equals_the_dense_masked_reference(name, batch, height, width, size, density, chunk, seed):
    x, layout = random_case(seed, batch, height, width, size, density)
    module, before = UNITS[name](), x.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('basicsr_amsr.execution.torch_sparse.patches.CHUNK_CPU', chunk)
        result = sparse(module, x, layout)
    torch.testing.assert_close(result, masked(module, x, layout), **TOLERANCE)
    assert torch.equal(x, before)


@pytest.mark.parametrize(('size', 'sides'), [(1, [8, 4, 1]), (4, [16, 8, 4])])
@pytest.mark.parametrize('name', UNITS)
def test_patches_computed_together_give_the_same(name, size, sides, monkeypatch):
    monkeypatch.setattr('basicsr_amsr.execution.torch_sparse.patches.LEAST', 128)
    monkeypatch.setattr('basicsr_amsr.execution.torch_sparse.patches.CHUNK_CPU', 1 << 14)
    x, layout = random_case(0, 2, 70, 67, size, 0.98)
    assert [group.size for group in layout.groups] == sides
    module = UNITS[name]()
    torch.testing.assert_close(sparse(module, x, layout), masked(module, x, layout), **TOLERANCE)


@pytest.mark.parametrize('size', [1, 8])
def test_lists_are_made_once_and_serve_units_of_other_shapes(size):
    x, layout = random_case(0, 3, 19, 23, size, 0.4)
    kept = None
    for name in [*UNITS, *UNITS]:
        module = UNITS[name]()
        torch.testing.assert_close(sparse(module, x, layout), masked(module, x, layout), **TOLERANCE)
        kept = {key: id(value) for key, value in layout._gathers.items()}
    sparse(module, x, layout)
    assert {key: id(value) for key, value in layout._gathers.items()} == kept


def test_all_active_is_the_dense_unit_to_the_bit():
    x, layout = random_case(0, 2, 17, 13, 4, 1.0)
    for make in UNITS.values():
        module = make()
        assert torch.equal(sparse(module, x, layout), module(x))
        assert torch.equal(masked(module, x, layout), module(x))


def test_masked_by_hand():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    module = Block(conv, conv, combine=replace)
    patches = torch.zeros(1, 5, 5, dtype=torch.bool)
    patches[0, 2, 2:4] = True
    # The inner values are 9, at the right border 6: the mask keeps two of the nine that a pixel sums up.
    layout = Layout(patches, 1, 5, 5, 0)
    assert masked(module, torch.ones(1, 1, 5, 5), layout)[0, 0, 2].tolist() == [1, 1, 18, 18, 1]


def test_identity_per_convolution_is_a_unit_of_one():
    torch.manual_seed(0)
    first, second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    x, layout = random_case(1, 3, 11, 14, 1, 0.4)
    mask = layout.mask(1)
    expected = torch.where(mask, first(x), x).relu()
    expected = torch.where(mask, second(expected), expected)
    torch.testing.assert_close(sparse(second, sparse(first, x, layout).relu(), layout), expected, **TOLERANCE)


def test_double_precision_and_other_memory_formats():
    x, layout = random_case(3, 3, 15, 18, 4, 0.5)
    module = UNITS['residual block']().double()
    x = x.double().to(memory_format=torch.channels_last)
    torch.testing.assert_close(sparse(module, x, layout), masked(module, x, layout), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('stages', [
    (nn.Conv2d(8, 8, 3, padding=1, stride=2),), (nn.Conv2d(8, 8, 3),), (nn.Conv2d(8, 8, 2, padding='same'),),
    (nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect'),), (nn.Conv2d(8, 4, 1),), (nn.ReLU(),),
    (nn.Conv2d(8, 8, 1), nn.AvgPool2d(3, 1, 1)), (nn.Conv2d(8, 8, 3, padding=1), nn.Softmax(1)),
    (nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 8, 1)), (nn.Conv2d(8, 8, 1), nn.Dropout2d(0.1))])
def test_units_that_cannot_be_skipped_are_refused(stages):
    with pytest.raises(Unreadable):
        read_unit(Block(*stages, combine=replace))
    with pytest.raises(Unreadable):
        read_unit(nn.Bilinear(8, 8, 8))


class BySize(Block):
    """Large maps go another way."""

    def forward(self, x):
        return super().forward(x) if x.shape[3] > 40 else x


def test_what_depends_on_the_size_is_refused():
    with pytest.raises(Unreadable):
        read_unit(BySize(nn.Conv2d(8, 8, 3, padding=1)))


def test_modules_that_are_built_alike_share_what_was_read():
    first, second = UNITS['residual block'](), UNITS['wide inside, three convolutions']()
    assert read_unit(first) is read_unit(copy.deepcopy(first)) is not read_unit(second)
    chain = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    unit = read_unit(chain, Layer(0, 1))
    assert unit is read_unit(chain, Layer(0, 1)) is copy.deepcopy(unit) is not read_unit(chain)
    twin = pickle.loads(pickle.dumps(unit))
    x, layout = random_case(0, 1, 9, 9, 4, 0.5)
    assert torch.equal(run_unit(twin, chain, x, layout), run_unit(unit, chain, x, layout))


def test_batch_normalisation_trains_and_other_layers_keep_their_gradients():
    torch.manual_seed(0)
    x, layout = random_case(0, 2, 12, 12, 4, 0.5)
    module = Block(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1))
    mask = layout.mask(1)
    twin = copy.deepcopy(module)
    twin.stages[2].register_forward_pre_hook(lambda m, args: (args[0] * mask,))
    twin.register_forward_hook(lambda m, args, out: torch.where(mask, out, args[0]))
    expected = twin(x)
    result = read_unit(module).masked(module, x, lambda h, w: mask)
    torch.testing.assert_close(result, expected, **TOLERANCE)
    for each in (result, expected):
        each.square().mean().backward()
    for (name, own), (_, other) in zip(module.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, **TOLERANCE, msg=name)
    torch.testing.assert_close(dict(module.named_buffers()), dict(twin.named_buffers()), **TOLERANCE)
    assert module.stages[1].num_batches_tracked == 1


@pytest.mark.parametrize('norm', [torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm,
                                  torch.nn.utils.parametrizations.spectral_norm])
@pytest.mark.filterwarnings('ignore:.*weight_norm.*deprecated')
def test_weights_that_are_made_of_others_train(norm):
    torch.manual_seed(0)
    x, layout = random_case(0, 2, 12, 12, 4, 0.5)
    module = Block(norm(nn.Conv2d(8, 8, 3, padding=1)), nn.ReLU(), norm(nn.Conv2d(8, 8, 3, padding=1))).eval()
    unit, mask = read_unit(module), layout.mask(1)
    for _ in range(2):  # the second time with other weights
        hook = module.stages[2].register_forward_pre_hook(lambda m, args: (args[0] * mask,))
        expected = torch.where(mask, module(x), x).detach()
        hook.remove()
        result = unit.masked(module, x, lambda h, w: mask)
        torch.testing.assert_close(result, expected, **TOLERANCE)
        torch.testing.assert_close(sparse(module, x, layout), expected, **TOLERANCE)
        result.square().mean().backward()
        assert all(each.grad is not None for each in module.parameters())
        with torch.no_grad():
            for each in module.parameters():
                each.mul_(1.3).add_(0.01)
        module.zero_grad()


def test_mistakes_are_named():
    with pytest.raises(UserError, match='2x2'):
        Layout(torch.ones(1, 2, 3, dtype=torch.bool), 4, 8, 8, 0)


@pytest.mark.cuda
@pytest.mark.parametrize('size', [1, 8])
def test_on_cuda(size):
    x, layout = random_case(0, 3, 37, 41, size, 0.4)
    module = UNITS['residual block']()
    expected = masked(module, x, layout)
    on_gpu = Layout(layout.patches.cuda(), size, 37, 41, 0)
    with torch.backends.cudnn.flags(allow_tf32=False):
        torch.testing.assert_close(sparse(module.cuda(), x.cuda(), on_gpu).cpu(), expected, **TOLERANCE)
