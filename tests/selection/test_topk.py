import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.selection.topk import check_k, count_selected, topk

grids = {'n': st.integers(1, 3), 'h': st.integers(1, 7), 'w': st.integers(1, 7), 'seed': st.integers(0, 99)}


def drawn(n, h, w, seed):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(seed))


@given(k=st.integers(0, 60), **grids)
def test_larger_and_smaller_take_the_extremes_of_each_image(n, h, w, k, seed):
    mask = drawn(n, h, w, seed)
    count = min(k, h * w)
    for order, descending in (('larger', True), ('smaller', False)):
        image, position = topk(mask, k, order)
        assert torch.equal(image, torch.arange(n).repeat_interleave(count))
        chosen = position.view(n, count)
        best = mask.flatten(1).sort(dim=1, descending=descending).values[:, :count].sort(1).values
        assert torch.equal(mask.flatten(1).gather(1, chosen).sort(1).values, best)
        assert torch.equal(chosen, chosen.sort(1).values)


@given(k=st.integers(0, 60), **grids)
def test_over_a_batch_the_worst_of_all_images_are_taken(n, h, w, k, seed):
    mask = drawn(n, h, w, seed)
    image, position = topk(mask, k, per='batch')
    count = min(k, h * w) * n
    assert len(image) == count
    chosen = image * h * w + position
    assert torch.equal(chosen, chosen.unique())
    best = mask.flatten().sort(descending=True).values[:count]
    assert torch.equal(mask.flatten()[chosen].sort(descending=True).values, best)


@given(threshold=st.floats(0, 1.2), **grids)
def test_a_threshold_takes_what_exceeds_it_and_other_orders_as_many(n, h, w, threshold, seed):
    mask = drawn(n, h, w, seed)
    image, position = topk(mask, {'threshold': threshold})
    expected = (mask.flatten(1) > threshold).nonzero()
    assert torch.equal(torch.stack([image, position], 1), expected)
    for order in ('smaller', 'random'):
        others, _ = topk(mask, {'threshold': threshold}, order)
        assert torch.equal(others, image)
    smaller = topk(mask, {'threshold': threshold}, 'smaller')
    for one in range(n):
        rest = mask[one].flatten().sort().values[:int((image == one).sum())]
        assert torch.equal(mask[one].flatten()[smaller[1][smaller[0] == one]].sort().values, rest)


@pytest.mark.parametrize('per', ['image', 'batch'])
def test_random_order_repeats_no_patch_and_follows_its_seed(per):
    mask = torch.arange(1200.0).view(3, 1, 20, 20)
    draw = {seed: torch.stack(topk(mask, 50, 'random', per, seed)) for seed in (0, 1)}
    assert draw[0].unique(dim=1).shape == (2, 150)
    assert not torch.equal(draw[0], draw[1])
    torch.rand(7)  # the global generator has no part in it
    assert torch.equal(torch.stack(topk(mask * 2, 50, 'random', per, 0)), draw[0])


def test_the_random_choice_of_an_image_does_not_depend_on_its_batch():
    mask = torch.rand(4, 1, 9, 9)
    image, position = topk(mask, 20, 'random')
    assert torch.equal(position[image == 3], topk(mask[3:], 20, 'random')[1])


@pytest.mark.parametrize(('k', 'total', 'count'), [(1000, 12, 12), (0, 12, 0), (0.5, 9, 5), (1.0, 9, 9), (0.0, 9, 0)])
def test_k_never_exceeds_the_number_of_patches(k, total, count):
    assert count_selected(k, total) == count


@pytest.mark.parametrize(('k', 'words'), [
    (-1, 'k is'), (1.5, 'k is'), (-0.1, 'k is'), (True, 'k is'), (None, 'k is'), ('5', 'k is'), ({}, 'either'),
    ({'thresold': 0.1}, 'threshold'), ({'threshold': 0.1, 'budget': 0.5}, 'either'), ({'threshold': -1}, 'from 0'),
    ({'budget': '60%'}, 'budget'), ({'budget': True}, 'budget'), ({'threshold': float('nan')}, 'from 0'),
])
def test_senseless_k_is_one_line(k, words):
    with pytest.raises(UserError, match=words) as caught:
        check_k(k)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('options', 'words'), [({'order': 'large'}, 'larger'), ({'per': 'batches'}, 'batch')])
def test_unknown_order_or_scope_names_the_near_one(options, words):
    with pytest.raises(UserError, match=words):
        topk(torch.rand(1, 1, 2, 2), 1, **options)
