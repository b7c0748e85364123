"""How many patches M refines, and which: threshold, budget, whole batch, random, and by the true error."""
from itertools import combinations

import pytest
import torch
from basicsr.utils.color_util import rgb2ycbcr_pt
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.mga.mask import error_target
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.oracle import gain_of_refining
from tests.mga.toy import SCALE, registered

sizes = st.integers(1, 21)


def network(**options):
    return MGA(registered(), **options).eval()


def chosen(net, x):
    return [tuple(map(int, patch)) for patch in zip(*net.select(net.base.extract(x)), strict=True)]


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 3), height=sizes, width=sizes, rank=st.integers(0, 40), chunk=st.integers(1, 9))
@torch.no_grad()
def test_a_threshold_refines_the_patches_above_it_in_every_image(n, height, width, rank, chunk):
    net = network(chunk=chunk)
    x = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(rank))
    feature = net.base.extract(x)
    mask = net.mask(feature)
    threshold = float(mask.flatten().sort().values[rank % mask.numel()].clamp_min(0))
    net.k = {'threshold': threshold}
    expected = (mask[:, 0] > threshold).nonzero()
    assert torch.equal(torch.stack(list(net.select(feature)), 1), expected)
    image = net(x)
    assert net.last_keep == pytest.approx(len(expected) / mask.numel())
    size = SCALE * net.patch_size
    above = (mask > threshold).repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :image.shape[2],
                                                                                     :image.shape[3]]
    whole = network(variant='A')(x)
    assert torch.allclose(image, torch.where(above, whole, net.base(x)), atol=1e-6)


def test_a_threshold_is_refused_where_the_mask_was_trained_on_something_relative():
    net = network(k={'threshold': 0.1})
    x = torch.rand(1, 3, 9, 9)
    net(x)  # an untrained mask says nothing either way: costs can be measured
    for supervision, words in (('normalized', 'normalized per image'), ('none', 'without supervision')):
        net.mask.set_supervision(supervision)
        with pytest.raises(UserError, match=words) as caught, torch.no_grad():
            net(x)
        assert '\n' not in str(caught.value)
    # the checkpoint knows it, strictly and in half precision as well
    loaded = network(k={'threshold': 0.1})
    loaded.load_state_dict(net.half().state_dict())
    with pytest.raises(UserError, match='without supervision'), torch.no_grad():
        loaded(x)
    net.mask.set_supervision('absolute')
    loaded.load_state_dict(net.state_dict())
    with torch.no_grad():
        loaded(x)
    # the true error is absolute, whatever the mask was trained on
    loaded.mask.set_supervision('normalized')
    loaded.order = 'oracle'
    with torch.no_grad():
        loaded(x)


@torch.no_grad()
def test_over_a_batch_one_image_may_take_anothers_patches():
    net = network(k=4, per='batch')
    x = torch.rand(3, 3, 16, 16)
    mask = net.mask(net.base.extract(x))
    best = mask.flatten().topk(12).indices.sort().values
    expected = [(int(i) // 16, int(i) % 16 // 4, int(i) % 4) for i in best]
    assert chosen(net, x) == expected
    net.per = 'image'
    assert [image for image, _, _ in chosen(net, x)] == [0] * 4 + [1] * 4 + [2] * 4
    # more than there are: all
    net.per, net.k = 'batch', 1000
    assert torch.equal(net(x), network(variant='A')(x))


@torch.no_grad()
def test_random_patches_follow_the_seed():
    x = torch.rand(1, 3, 40, 40)
    first, again, other = (chosen(network(k=0.3, order='random', seed=seed), x) for seed in (3, 3, 4))
    assert first == again != other
    assert len(set(first)) == 30


@torch.no_grad()
def test_oracle_takes_the_patches_that_refining_changes_most():
    net = network(k=5, order='oracle')
    x = torch.rand(2, 3, 18, 15)
    refined = network(variant='A')(x)
    error = error_target(net.base(x), refined, SCALE, 4, normalize=False)
    index = net.select(net.base.extract(x), error)
    expected = network(k=5).refine_patches(net.base.extract(x), net.base(x), index)
    assert torch.equal(net(x), expected)
    assert torch.equal(index.row * 4 + index.col, error.flatten(1).topk(5).indices.sort().values.flatten())


@torch.no_grad()
def test_no_other_patches_give_a_higher_psnr_than_the_best():
    net = network(k=3, order='best', patch_size=4)
    x = torch.rand(1, 3, 7, 10)  # 2×3 patches, those at the right and below cut off
    target = torch.rand(1, 3, 14, 20)
    feature, coarse = net.base.extract(x), net.base(x)

    def squared_error(image):
        return float((rgb2ycbcr_pt(image, y_only=True) - rgb2ycbcr_pt(target, y_only=True)).square().sum())

    every = list(zip(*net.every_patch(feature), strict=True))
    errors = [squared_error(net.refine_patches(feature, coarse, type(net.every_patch(feature))(
        *map(torch.stack, zip(*patches, strict=True))))) for patches in combinations(every, 3)]
    assert squared_error(net(x, target=target)) == pytest.approx(min(errors), rel=1e-6)
    gain = gain_of_refining(coarse, network(variant='A')(x), target, SCALE, 4)
    refined = squared_error(network(variant='A')(x))
    assert float(gain.sum()) == pytest.approx(squared_error(coarse) - refined, rel=1e-4)
    with pytest.raises(UserError, match='ground truth'):
        net(x)


@pytest.mark.parametrize(('options', 'words'), [
    ({'order': 'bets'}, 'best'), ({'per': 'picture'}, 'per'), ({'k': {'budgt': 0.5}}, 'budget'),
])
def test_senseless_selections_are_one_line(options, words):
    with pytest.raises(UserError, match=words) as caught:
        network(**options)
    assert '\n' not in str(caught.value)
