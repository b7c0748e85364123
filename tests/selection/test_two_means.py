import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.selection.two_means import two_means


def scatter_within(row: torch.Tensor, high: torch.Tensor) -> float:
    """What 2-means minimises: squared distances to the mean of the own cluster."""
    return sum(((part - part.mean()) ** 2).sum().item() for part in (row[high], row[~high]) if len(part))


def brute_force(row: torch.Tensor) -> tuple[float, list[float]]:
    """The least scatter over all thresholds, and the values that a threshold can stand at."""
    row = row.double()
    cuts = row.unique().tolist()[1:]
    return min((scatter_within(row, row >= cut) for cut in cuts), default=0.0), cuts


@st.composite
def rows(draw):
    length = draw(st.integers(1, 60))
    kind = draw(st.sampled_from(['continuous', 'coarse', 'far from zero', 'two heaps', 'half-normal']))
    seed = draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(draw(st.integers(1, 3)), length, generator=generator)
    return {'continuous': values, 'coarse': values.mul(2).round(), 'far from zero': values + 1000.0,
            'two heaps': values * 0.01 + (values > 0.5), 'half-normal': values.abs() * 1e-6}[kind]


@settings(max_examples=200, deadline=None)
@given(values=rows())
def test_no_threshold_is_better(values):
    high, threshold = two_means(values)
    assert high.shape == values.shape and threshold.shape == (len(values),)
    for row, chosen, cut in zip(values.double(), high, threshold.tolist(), strict=True):
        best, cuts = brute_force(row)
        assert chosen.any() == bool(cuts)
        assert torch.equal(chosen, row >= cut)
        assert scatter_within(row, chosen) <= best * (1 + 1e-6) + 1e-30
        if cuts and not chosen.all():
            assert row[chosen].min() > row[~chosen].max()


@pytest.mark.parametrize('length', [3000, 50_000])
@pytest.mark.parametrize('kind', ['half-normal', 'uniform', 'grey levels', 'one outlier'])
def test_agrees_with_sorting_everything_where_most_bins_are_pruned(kind, length):
    torch.manual_seed(length)
    values = {'half-normal': torch.randn(3, length).abs(), 'uniform': torch.rand(3, length),
              'grey levels': torch.randint(0, 256, (3, length)).float(),
              'one outlier': torch.rand(3, length).index_fill(1, torch.tensor([7]), 1e6)}[kind]
    ordered = values.double().sort(dim=1).values
    under, k = ordered.cumsum(1)[:, :-1], torch.arange(1, length).double()
    whole = ordered.sum(1, keepdim=True)
    gain = (under - k * whole / length).square() / (k * (length - k))
    gain[ordered[:, 1:] == ordered[:, :-1]] = 0
    last = gain.argmax(dim=1, keepdim=True)
    assert torch.equal(two_means(values).high, values.double() > ordered.gather(1, last))


def test_hand_computed_example():
    high, threshold = two_means(torch.tensor([[0.0, 1.0, 1.0, 5.0, 6.0], [3.0, 0.0, 0.0, 0.0, 0.0]]))
    assert high.tolist() == [[False, False, False, True, True], [True, False, False, False, False]]
    assert 1.0 < threshold[0] <= 5.0 and 0.0 < threshold[1] <= 3.0


def test_of_equally_good_thresholds_the_lowest_is_taken():
    assert two_means(torch.tensor([[2.0, 0.0, 1.0]])).high.tolist() == [[True, False, True]]


@pytest.mark.parametrize('row', [[0.0], [0.7] * 5, [0.0, math.nan], [1.0, math.inf, 0.0], []])
def test_rows_without_two_clusters_have_an_empty_mask(row):
    high, threshold = two_means(torch.tensor([row]))
    assert not high.any() and threshold.item() == math.inf


def test_a_flat_row_leaves_the_others_of_the_batch_alone():
    values = torch.rand(3, 500)
    values[1] = 0.25
    high = two_means(values).high
    assert not high[1].any()
    assert torch.equal(high[0], two_means(values[:1]).high[0]) and torch.equal(high[2], two_means(values[2:]).high[0])


def test_order_of_the_values_is_immaterial():
    values = torch.randn(1, 20_000).abs()
    order = torch.randperm(20_000)
    assert torch.equal(two_means(values[:, order]).high, two_means(values).high[:, order])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    values = torch.rand(2, 1000).to(dtype)
    assert torch.equal(two_means(values).high, two_means(values.float() if dtype != torch.float64 else values).high)


@pytest.mark.cuda
def test_cuda_chooses_what_the_cpu_chooses():
    values = torch.randn(4, 100_000).abs()
    assert torch.equal(two_means(values.cuda()).high.cpu(), two_means(values).high)
