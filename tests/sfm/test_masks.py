"""Band geometry against hand computation, and the distributions of the modes as statistical tests."""
import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, norm

from basicsr_amsr.sfm.masks import (
    band_mask,
    central_bands,
    max_radius,
    radius_map,
    random_masks,
    targeted_bands,
)

CPU = torch.device('cpu')
DRAWS = 20_000
# Seeds are fixed, so a test passes or fails for good. A right implementation fails a seed with this probability.
ALPHA = 1e-4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def kept(height, width, inner, outer):
    """By the definition, coefficient by coefficient; radii in coefficients."""
    return [[not inner < math.sqrt(i * i + j * j) < outer for j in range(width)] for i in range(height)]


def test_radii():
    assert radius_map(1, 1, CPU).tolist() == [[0.0]]
    radius = radius_map(4, 5, CPU)
    assert radius[3, 4] == 5 and radius[0, 2] == 2 and radius[2, 0] == 2
    assert max_radius(3, 4) == 5  # no coefficient of a 3×4 plane is that far: the farthest is (2, 3)
    assert radius_map(3, 4, CPU).max() == pytest.approx(math.sqrt(13))


def test_a_band_written_out():
    # 2 < r < 4 means 4 < r² < 16; r² of a 4×5 plane: 0 1 4 9 16 / 1 2 5 10 17 / 4 5 8 13 20 / 9 10 13 18 25
    unit = max_radius(4, 5)
    mask = band_mask(4, 5, torch.tensor([[2 / unit, 4 / unit]], dtype=torch.float64), CPU)
    assert mask[0].int().tolist() == [[1, 1, 1, 0, 1], [1, 1, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (8, 1), (7, 12), (16, 16)])
def test_bands_per_sample(size):
    bands = central_bands([seeded()] * 20)
    mask = band_mask(*size, bands, CPU)
    unit = max_radius(*size)
    assert mask.shape == (20, *size)
    for one, (inner, outer) in zip(mask, bands.tolist(), strict=True):
        assert one.tolist() == kept(*size, inner * unit, outer * unit)


def test_the_band_has_no_edge():
    # 3-4-5: the coefficients (3, 4) and (4, 3) lie exactly at 5, (6, 8) and (8, 6) exactly at 10
    unit = max_radius(9, 9)
    mask = band_mask(9, 9, torch.tensor([[5 / unit, 10 / unit]], dtype=torch.float64), CPU)[0]
    assert mask[3, 4] and mask[4, 3] and mask[6, 8] and mask[8, 6] and mask[5, 0] and not mask[6, 0]


def test_the_central_mode_never_drops_dc():
    assert band_mask(8, 8, central_bands([seeded()] * DRAWS), CPU)[:, 0, 0].all()


def z_scores(dropped: torch.Tensor, probability: np.ndarray) -> np.ndarray:
    """How many standard deviations the counts of (draws, positions) are off a binomial distribution."""
    count = len(dropped)
    return (dropped.double().mean(0).numpy() - probability) / np.sqrt(probability * (1 - probability) / count)


def band_hits(bands, positions):
    return (bands[:, :1] < positions) & (positions < bands[:, 1:])


@pytest.mark.parametrize('seed', range(5))
def test_the_central_mode_drops_with_probability_2_u_minus_u_squared(seed):
    u = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    probability = 2 * (u - u.square()).numpy()
    z = z_scores(band_hits(central_bands([seeded(seed)] * DRAWS), u), probability)
    assert np.abs(z).max() < norm.isf(ALPHA / 2 / len(u))  # Bonferroni over the positions


@pytest.mark.parametrize(('centre', 'sigma'), [(0.85, 0.15), (0.5, 0.05), (0.15, 0.15)])
def test_the_targeted_mode_drops_by_its_normal_tails(centre, sigma):
    u = torch.tensor([centre + k * sigma for k in (-2, -1, -0.5, -0.1, 0.1, 0.5, 1, 2)], dtype=torch.float64)
    probability = 2 * norm.sf(np.abs(u.numpy() - centre) / sigma)
    z = z_scores(band_hits(targeted_bands(centre, sigma, [seeded()] * DRAWS), u), probability)
    assert np.abs(z).max() < norm.isf(ALPHA / 2 / len(u))


def test_the_sides_of_a_targeted_band_are_independent():
    spread = (targeted_bands(0.85, 0.15, [seeded()] * DRAWS) - 0.85).abs()
    correlation = np.corrcoef(spread.T.numpy())[0, 1]
    assert abs(correlation) * math.sqrt(DRAWS) < norm.isf(ALPHA / 2)


def test_masks_on_the_plane_have_the_same_probability():
    """The same law through radius_map and band_mask: u of a coefficient is its distance over r_max."""
    size, count = (9, 13), 4000
    mask = band_mask(*size, central_bands([seeded(3)] * count), CPU)
    u = radius_map(*size, CPU).double().numpy() / max_radius(*size)
    places = [(0, 1), (2, 3), (4, 6), (8, 0), (0, 12), (8, 12)]
    probability = np.array([2 * (u[place] - u[place]**2) for place in places])
    dropped = torch.stack([~mask[:, i, j] for i, j in places], 1)
    assert np.abs(z_scores(dropped, probability)).max() < norm.isf(ALPHA / 2 / len(places))


@pytest.mark.parametrize('keep', [0.2, 0.5, 0.9])
def test_the_random_mode_keeps_each_coefficient_by_itself(keep):
    count = 4000
    mask = random_masks(5, 4, keep, [seeded()] * count).double().flatten(1).numpy()
    assert np.abs((mask.mean(0) - keep) / math.sqrt(keep * (1 - keep) / count)).max() < norm.isf(ALPHA / 2 / 20)
    correlation = np.corrcoef(mask.T)[np.triu_indices(20, 1)]
    assert count * np.square(correlation).sum() < chi2.isf(ALPHA, len(correlation))
