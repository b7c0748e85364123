"""What M, A and B have to do with each other, for every network that MGA can split, at every scale."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.mga.halo_patches import PatchIndex
from basicsr_amsr.mga.network import MGA
from tests.backbones.tiny import SPLIT, split_options

NAMES = (*SPLIT, 'EDSR_baseline', 'MSRResNet')
CASES = [(name, scale) for name in NAMES for scale in (2, 3, 4)]
LARGE = (97, 131)
every_case = pytest.mark.parametrize(('name', 'scale'), CASES)


def network(name, scale, **options):
    torch.manual_seed(0)
    net = MGA({'type': name, 'upscale': scale, **split_options(name, 3)}, split_blocks=(2, 1), **options).eval()
    for parameter in net.parameters():  # fresh networks give little more than their skips; here all parts shall count
        parameter.data.mul_(1.5)
    return net


def image(n, height, width, seed=0):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def variants(net, x, names='BDA'):
    images = {}
    for variant in names:
        net.set_variant(variant)
        images[variant] = net(x)
    net.set_variant('M')
    return images


def patch_mask(net, index, shape):
    """True at the pixels of the chosen patches."""
    n, _, height, width = shape
    size = net.scale * net.patch_size
    grid = torch.zeros(n, 1, -(-height // size), -(-width // size), dtype=torch.bool)
    grid[index.batch, 0, index.row, index.col] = True
    return grid.repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :height, :width]


@every_case
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 3), height=st.integers(1, 23), width=st.integers(1, 23), p=st.sampled_from([2, 3, 4, 8]),
       keep=st.floats(0, 1), seed=st.integers(0, 99))
@torch.no_grad()
def test_any_size(name, scale, n, height, width, p, keep, seed):
    net = network(name, scale, patch_size=p)
    x = image(n, height, width, seed)
    images = variants(net, x)
    assert all(value.shape == (n, 3, scale * height, scale * width) for value in images.values())
    assert all(value.isfinite().all() for value in images.values())
    # all patches selected is A, none is B, to the bit
    net.k = 1.0
    assert torch.equal(net(x), images['A'])
    net.k = 0
    assert torch.equal(net(x), images['B'])
    # in between, each pixel is A's or B's
    net.k = keep
    index = net.select(net.base.extract(x))
    expected = torch.where(patch_mask(net, index, images['A'].shape), images['A'], images['B'])
    assert torch.allclose(net(x), expected, rtol=1e-5, atol=1e-5)


@every_case
@torch.no_grad()
def test_a_large_odd_image_in_chunks_and_at_once(name, scale):
    net = network(name, scale, k=0.3, chunk=100)
    x = image(1, *LARGE)
    images = variants(net, x, 'BA')
    assert (images['A'] - images['B']).abs().mean() > 1e-3
    chunked = net(x)
    index = net.select(net.base.extract(x))
    assert len(index.batch) == 248  # 0.3 of 25×33, rounded up
    net.chunk = None
    assert torch.allclose(net(x), chunked, rtol=1e-5, atol=1e-5)
    expected = torch.where(patch_mask(net, index, chunked.shape), images['A'], images['B'])
    assert torch.allclose(chunked, expected, rtol=1e-5, atol=1e-5)


@every_case
@torch.no_grad()
def test_a_patch_does_not_see_which_others_are_chosen(name, scale):
    net = network(name, scale, patch_size=4)
    x = image(2, 13, 18)
    feature = net.base.extract(x)
    coarse = net.base.reconstruct(feature, x)
    every = net.every_patch(feature)
    generator = torch.Generator().manual_seed(0)
    first = int(torch.randint(len(every.batch), (), generator=generator))
    size = scale * 4

    def refined(chosen):
        result = net.refine_patches(feature, coarse, PatchIndex(*(part[chosen] for part in every)))
        row, col = int(every.row[first]) * size, int(every.col[first]) * size
        return result[every.batch[first], :, row:row + size, col:col + size]

    alone = refined(torch.tensor([first]))
    for count in (2, 7, 39):
        others = torch.randperm(len(every.batch), generator=generator)[:count]
        chosen = torch.cat([others[others != first], torch.tensor([first])])
        assert torch.allclose(refined(chosen), alone, rtol=1e-5, atol=1e-5)
    # of equally many, in the same place of the batch, it is the same to the bit
    base = torch.arange(8)
    others = [torch.cat([(first + 1 + base * step) % len(every.batch), torch.tensor([first])]) for step in (1, 2)]
    assert torch.equal(refined(others[0]), refined(others[1]))


@every_case
@torch.no_grad()
def test_an_image_does_not_see_its_batch(name, scale):
    net = network(name, scale, k=4)
    x = image(3, 12, 17)
    together = net(x)
    for i in range(3):
        assert torch.allclose(net(x[i:i + 1])[0], together[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_half_precision(name, dtype):
    net = network(name, 2, k=1.0)
    x = image(2, 11, 14)
    reference = variants(net, x)
    net = net.to(dtype)
    for variant, value in variants(net, x.to(dtype)).items():
        assert value.dtype == dtype
        assert torch.allclose(value.float(), reference[variant], rtol=0.05, atol=0.05 * float(reference['D'].std()))
    # the invariants hold to the bit in any precision
    assert torch.equal(net(x.to(dtype)), variants(net, x.to(dtype), 'A')['A'])
    net.k = 0
    assert torch.equal(net(x.to(dtype)), variants(net, x.to(dtype), 'B')['B'])
    net.k = 3
    assert net(x.to(dtype)).isfinite().all()
