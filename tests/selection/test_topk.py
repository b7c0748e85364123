import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.selection.topk import count_selected, topk


@given(n=st.integers(1, 3), h=st.integers(1, 7), w=st.integers(1, 7), k=st.integers(0, 60), seed=st.integers(0, 99))
def test_larger_and_smaller_take_the_extremes_of_each_image(n, h, w, k, seed):
    torch.manual_seed(seed)
    mask = torch.rand(n, 1, h, w)
    count = min(k, h * w)
    for order, descending in (('larger', True), ('smaller', False)):
        chosen = topk(mask, k, order)
        assert chosen.shape == (n, count)
        best = mask.flatten(1).sort(dim=1, descending=descending).values[:, :count].sort(1).values
        assert torch.equal(mask.flatten(1).gather(1, chosen).sort(1).values, best)
        assert torch.equal(chosen, chosen.sort(1).values)


def test_random_order_takes_different_patches_without_repeating_any():
    torch.manual_seed(0)
    mask = torch.arange(400.0).view(1, 1, 20, 20)
    first, second = topk(mask, 50, 'random'), topk(mask, 50, 'random')
    assert len(first.unique()) == 50
    assert not torch.equal(first, second)


@pytest.mark.parametrize(('k', 'total', 'count'), [(1000, 12, 12), (0, 12, 0), (0.5, 9, 5), (1.0, 9, 9), (0.0, 9, 0)])
def test_k_never_exceeds_the_number_of_patches(k, total, count):
    assert count_selected(k, total) == count


@pytest.mark.parametrize('k', [-1, 1.5, -0.1, True, None, '5'])
def test_senseless_k_is_refused(k):
    with pytest.raises(UserError, match='k is'):
        topk(torch.rand(1, 1, 2, 2), k)


def test_unknown_order_names_the_near_one():
    with pytest.raises(UserError, match='larger'):
        topk(torch.rand(1, 1, 2, 2), 1, 'large')
