"""The transform: what it changes and what it leaves, and where its randomness comes from."""
import random

import numpy as np
import pytest
import torch
from scipy.fftpack import dct, idct
from scipy.stats import binomtest

from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import TRANSFORM_REGISTRY, lookup
from basicsr_amsr.sfm.dct import dct2
from basicsr_amsr.sfm.masking import StochasticFrequencyMasking

MODES = ['random', 'central', 'targeted']


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(*shape, seed=0):
    return torch.rand(*shape, generator=seeded(seed))


def masked_by_scipy(image, mask):
    """One image (C, H, W), channel by channel, as the paper describes it."""
    result = np.empty_like(image, dtype=np.float64)
    for channel, plane in enumerate(image.astype(np.float64)):
        coefficients = dct(dct(plane, axis=0, norm='ortho'), axis=1, norm='ortho') * mask
        result[channel] = idct(idct(coefficients, axis=0, norm='ortho'), axis=1, norm='ortho')
    return result


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('shape', [(3, 3, 24, 31), (2, 1, 7, 5), (4, 3, 1, 1), (1, 3, 1, 9)])
def test_it_is_the_scipy_loop(mode, shape, monkeypatch):
    transform = StochasticFrequencyMasking(mode, rate=1)
    drawn = []
    draw = transform.draw_masks
    monkeypatch.setattr(transform, 'draw_masks', lambda *args: drawn.append(draw(*args)) or drawn[-1])
    x = batch(*shape)
    result = transform(x, seeded(1))
    assert drawn[0].shape == (shape[0], *shape[2:])
    for image, mask, ours in zip(x.numpy(), drawn[0].numpy(), result.numpy(), strict=True):
        np.testing.assert_allclose(ours, masked_by_scipy(image, mask), rtol=0, atol=1e-5)


@pytest.mark.parametrize('mode', MODES)
def test_channels_share_a_mask_and_samples_do_not(mode):
    x = batch(4, 3, 20, 20)
    lost = (dct2(StochasticFrequencyMasking(mode, rate=1)(x, seeded())).abs() < 1e-4) & (dct2(x).abs() > 1e-3)
    assert lost.any((1, 2, 3)).sum() >= 3  # a central band may be too thin to hold a coefficient
    # wherever a channel has lost what it had, the others have lost it too
    clear = (dct2(x).abs() > 1e-3).all(1)
    assert (lost[:, 0] == lost[:, 1])[clear].all() and (lost[:, 0] == lost[:, 2])[clear].all()
    assert not all(torch.equal(lost[0, 0], other) for other in lost[1:, 0])


def test_the_rate():
    x = batch(2000, 1, 4, 4)
    changed = (StochasticFrequencyMasking('random', rate=0.3)(x, seeded()) != x).any(-1).any(-1).any(-1)
    # keep = 0.5 leaves a 4×4 plane whole with probability 2^-16
    assert binomtest(int(changed.sum()), 2000, 0.3).pvalue > 1e-3


@pytest.mark.parametrize('mode', MODES)
def test_what_is_not_selected_stays_bit_by_bit_and_the_input_is_not_edited(mode):
    x = batch(64, 3, 12, 10)
    before = x.clone()
    result = StochasticFrequencyMasking(mode)(x, seeded())
    assert torch.equal(x, before)
    assert result.data_ptr() != x.data_ptr()
    same = (result == x).all(-1).all(-1).all(-1)
    assert 16 < same.sum() < 48
    untouched = StochasticFrequencyMasking(mode, rate=0)(x, seeded())
    assert torch.equal(untouched, x) and untouched.data_ptr() != x.data_ptr()


def test_a_single_image_is_a_batch_of_one():
    x = batch(3, 16, 18)
    for seed in range(4):
        transform = StochasticFrequencyMasking('central')
        assert torch.equal(transform(x, seeded(seed)), transform(x[None], [seeded(seed)])[0])


@pytest.mark.parametrize('mode', MODES)
def test_a_sample_is_masked_the_same_in_any_batch(mode):
    x = batch(6, 3, 13, 16)
    transform = StochasticFrequencyMasking(mode)
    together = transform(x, [seeded(seed) for seed in range(6)])
    for seed in range(6):
        torch.testing.assert_close(together[seed], transform(x[seed], seeded(seed)), rtol=0, atol=1e-6)


def test_as_many_generators_as_samples():
    with pytest.raises(ValueError, match='got 2 generators for 3 samples'):
        StochasticFrequencyMasking()(batch(3, 3, 8, 8), [seeded(), seeded()])


def test_read_only_arrays_and_views_are_left_alone():
    whole = batch(2, 3, 20, 20)
    before = whole.clone()
    StochasticFrequencyMasking('random', rate=1)(whole[:, :, 3:15, 2:9], seeded())
    assert torch.equal(whole, before)


@pytest.mark.parametrize('mode', MODES)
def test_pythons_random_decides_where_no_generator_is_given(mode):
    x = batch(8, 3, 10, 10)
    transform = StochasticFrequencyMasking(mode)

    def draw(seed):
        random.seed(seed)
        return [transform(x) for _ in range(2)]

    first, again, other = draw(5), draw(5), draw(6)
    torch.manual_seed(9)  # changes nothing
    np.random.seed(9)
    assert torch.equal(first[0], draw(5)[0])
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    x = batch(6, 3, 12, 12).to(dtype)
    result = StochasticFrequencyMasking('targeted', rate=1)(x, seeded(2))
    assert result.dtype == dtype
    expected = StochasticFrequencyMasking('targeted', rate=1)(x.float(), seeded(2))
    torch.testing.assert_close(result.float(), expected.to(dtype).float(), rtol=0, atol=1e-6)


def test_constant_images_survive_the_central_mode():
    x = torch.full((16, 1, 9, 9), 0.4)
    torch.testing.assert_close(StochasticFrequencyMasking('central', rate=1)(x, seeded()), x, rtol=0, atol=1e-6)


def test_names_and_numbers_of_the_modes():
    assert lookup(TRANSFORM_REGISTRY, 'SFM') is StochasticFrequencyMasking
    assert [StochasticFrequencyMasking(number).mode for number in range(3)] == MODES


@pytest.mark.parametrize(('options', 'words'), [
    ({'mode': 'middle'}, 'mode is'), ({'mode': 3}, 'mode is'), ({'mode': True}, 'mode is'), ({'rate': 1.5}, 'rate is'),
    ({'rate': 'half'}, 'rate is'), ({'centre': -0.1}, 'centre is'), ({'sigma': -1}, 'sigma is'),
    ({'keep': float('nan')}, 'keep is')])
def test_options_out_of_range(options, words):
    with pytest.raises(UserError, match=words) as error:
        StochasticFrequencyMasking(**options)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('x', [torch.zeros(4, 4), torch.zeros(1, 3, 0, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_what_is_no_image(x):
    with pytest.raises(ValueError, match='takes floating-point images'):
        StochasticFrequencyMasking()(x)


@pytest.mark.cuda
@pytest.mark.parametrize('mode', ['central', 'targeted'])
def test_the_gpu_drops_the_same_bands(mode):
    x = batch(16, 3, 64, 64)
    transform = StochasticFrequencyMasking(mode)
    torch.testing.assert_close(transform(x.cuda(), seeded()).cpu(), transform(x, seeded()), rtol=0, atol=1e-5)
