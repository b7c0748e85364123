import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.mga.mask import error_target
from basicsr_amsr.mga.network import MGA
from tests.mga.toy import SCALE, registered

sizes = st.integers(1, 21)


def network(**options):
    return MGA(registered(), **options).eval()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 3), height=sizes, width=sizes, p=st.integers(1, 5), seed=st.integers(0, 9))
@torch.no_grad()
def test_variants_agree_where_they_must(n, height, width, p, seed):
    net = network(patch_size=p)
    x = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))
    images = {}
    for variant in 'BDAM':
        net.set_variant(variant)
        images[variant] = net(x)
        assert images[variant].shape == (n, 3, SCALE * height, SCALE * width)
    assert torch.equal(images['B'], net.base(x))
    # K = 1000 is more than there are patches: everything is selected
    assert torch.equal(images['M'], images['A'])
    net.k = 0
    assert torch.equal(net(x), images['B'])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 3), height=sizes, width=sizes, k=st.floats(0, 1), chunk=st.integers(1, 40))
@torch.no_grad()
def test_each_pixel_is_that_of_a_or_that_of_b_whatever_else_is_chosen(n, height, width, k, chunk):
    net = network(k=k, chunk=chunk)
    x = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))
    mixed, feature = net(x), net.base.extract(x)
    index = net.select(feature)
    net.set_variant('A')
    whole = net(x)
    size = SCALE * net.patch_size
    chosen = torch.zeros(n, 1, *whole.shape[2:], dtype=torch.bool)
    for b, i, j in zip(*index, strict=True):
        chosen[b, :, i * size:(i + 1) * size, j * size:(j + 1) * size] = True
    expected = torch.where(chosen, whole, net.base(x))
    assert torch.allclose(mixed, expected, atol=1e-6)
    keep = len(index.batch) / n / (-(-height // 4) * -(-width // 4))
    net.set_variant('M')
    net(x)
    assert net.last_keep == pytest.approx(keep)


@torch.no_grad()
def test_whole_map_and_patches_agree_where_refinement_needs_no_more_than_the_halo():
    # the toy's refine net sees one pixel around, which is what the halo holds
    net = network(variant='D')
    x = torch.rand(2, 3, 13, 10)
    whole = net(x)
    net.set_variant('A')
    assert torch.allclose(net(x), whole, atol=1e-6)


@pytest.mark.parametrize(('options', 'times'), [
    ({'variant': 'B'}, 1), ({'variant': 'D'}, 0), ({'variant': 'A'}, 0), ({'k': 0}, 1), ({'k': 29}, 1), ({'k': 30}, 0),
    ({'k': 1.0}, 0), ({'k': 60, 'per': 'batch'}, 0), ({'k': {'threshold': 0.0}}, 0), ({'k': {'threshold': 9.0}}, 1),
    ({'k': 29, 'order': 'oracle'}, 1), ({'k': 30, 'order': 'oracle'}, 1),
])
@torch.no_grad()
def test_the_coarse_image_is_made_where_a_pixel_of_it_is_seen(options, times, monkeypatch):
    net = network(**options)
    net.mask.kernel.bias.fill_(1)  # predicted errors, and all above 0
    x = torch.rand(2, 3, 18, 21)  # 5×6 patches
    made = []
    reconstruct = net.base.reconstruct
    monkeypatch.setattr(net.base, 'reconstruct', lambda *inputs: made.append(inputs) or reconstruct(*inputs))
    image = net(x)
    assert len(made) == times
    parts = net(x, with_parts=True)  # what training asks for holds it in any case
    assert len(made) == times + 1
    assert torch.equal(parts.image, image) and torch.equal(parts.coarse, net.base(x))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('variant', 'BDAM')
@torch.no_grad()
def test_half_precision_runs_and_stays_near(dtype, variant):
    net = network(variant=variant, k=0.5)
    x = torch.rand(2, 3, 11, 14)
    reference = net(x)
    if variant == 'M':  # the choice itself may flip in half precision; compare with everything refined
        net.k = 1.0
        reference = net(x)
    result = net.to(dtype)(x.to(dtype))
    assert result.dtype == dtype
    assert torch.allclose(result.float(), reference, atol=0.03)


@torch.no_grad()
def test_memory_format_changes_nothing():
    net = network(k=0.4)
    x = torch.rand(2, 3, 18, 13)
    reference = net.to(memory_format=torch.contiguous_format)(x)
    net = net.to(memory_format=torch.channels_last)
    assert torch.allclose(net(x), reference, atol=1e-6)
    assert torch.allclose(net(x.to(memory_format=torch.channels_last)), reference, atol=1e-6)


@pytest.mark.parametrize('pooling', ['after_softmax', 'before_softmax'])
@torch.no_grad()
def test_mask_equals_the_formula_written_out(pooling):
    torch.manual_seed(0)
    module = network(mask_pooling=pooling).mask
    feature = torch.randn(2, 8, 12, 20)
    logits = F.conv2d(F.conv2d(feature, module.conv1.weight, module.conv1.bias, padding=1).clamp_min(0),
                      module.conv2.weight, module.conv2.bias, padding=1)
    blocks = logits.reshape(2, 2, 3, 4, 5, 4)
    if pooling == 'after_softmax':
        soft = (blocks.exp() / blocks.exp().sum(1, keepdim=True))[:, 1].mean((2, 4))
    else:
        soft = blocks.mean((3, 5)).softmax(1)[:, 1]
    weight, bias = module.kernel.weight.flatten(), module.kernel.bias
    padded = F.pad(soft, (2, 2, 2, 2))
    expected = torch.zeros_like(soft)
    for i in range(3):
        for j in range(5):
            kernel = weight * soft[:, i, j, None] + bias
            expected[:, i, j] = (kernel * padded[:, i:i + 5, j:j + 5].flatten(1)).sum(1)
    assert torch.allclose(module(feature)[:, 0], expected, atol=1e-6)


@torch.no_grad()
def test_a_one_channel_mask_has_no_softmax():
    module = network(mask_channels=1).mask
    feature = torch.randn(2, 8, 12, 20)
    plain = module.conv2(module.conv1(feature).clamp_min(0))
    pooled = plain.reshape(2, 1, 3, 4, 5, 4).mean((3, 5))
    assert torch.allclose(module(feature), module.dynamic_convolution(pooled), atol=1e-6)
    two = network().mask
    saved = sum(p.numel() for p in two.parameters()) - sum(p.numel() for p in module.parameters())
    assert saved == 8 * 9 + 1  # one filter less in the second convolution


def test_error_target_is_normalised_and_pools_what_is_inside():
    coarse = torch.zeros(1, 3, 10, 10)
    refined = coarse.clone()
    refined[..., 8:, 8:] = 1  # the 2×2 pixels of the last patch that lie inside the image
    target = error_target(coarse, refined, scale=2, patch_size=4)
    assert target.shape == (1, 1, 2, 2)
    assert torch.equal(target, torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]))
    same = error_target(coarse, coarse, scale=2, patch_size=4)
    assert torch.equal(same, torch.zeros(1, 1, 2, 2))


def test_parameters_of_the_variants():
    net = network()
    count = {v: net.variant_parameters(v) for v in 'BDAM'}
    assert count['B'] == sum(p.numel() for p in net.base.parameters())
    assert count['D'] == count['A'] == count['B'] + sum(p.numel() for p in net.refine.parameters())
    # 3×3 to 8 and to 2 channels, 1×1 to 25, each with bias
    assert count['M'] - count['A'] == (72 + 1) * 8 + (72 + 1) * 2 + 50


@pytest.mark.parametrize(('options', 'words'), [
    ({'variant': 'C'}, 'variant'), ({'patch_size': 0}, 'patch_size'), ({'k': 1.5}, 'k is'), ({'chunk': 0}, 'chunk'),
    ({'order': 'largest'}, 'larger'), ({'mask_pooling': 'softmax'}, 'after_softmax'),
    ({'mask_channels': 3}, 'mask_channels'),
])
def test_senseless_options_are_one_line_that_names_them(options, words):
    with pytest.raises(UserError, match=words) as caught:
        network(**options)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('backbone', 'words'), [
    ({'upscale': 2}, 'type'), ({'type': 'Toi', 'upscale': 2}, 'Toy'), ({'type': 'Toy', 'upscale': 5}, 'upscale 5'),
    ({'type': 'Toy'}, 'upscale'), ({'type': 'Toy', 'upscale': 2, 'depth': 3}, 'depth'),
])
def test_senseless_backbones_are_one_line(backbone, words):
    registered()
    with pytest.raises(UserError, match=words) as caught:
        MGA(backbone)
    assert '\n' not in str(caught.value)
