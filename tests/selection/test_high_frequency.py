import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.color_util import bgr2ycbcr
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.selection.high_frequency import gaussian, high_frequency, luminance
from basicsr_amsr.selection.noise_level import discount_noise, noise_level

sizes = st.integers(1, 24)


def test_luminance_is_basicsrs_without_the_offset():
    image = torch.rand(2, 3, 7, 9)
    expected = np.stack([bgr2ycbcr(i.numpy().transpose(1, 2, 0)[..., ::-1], y_only=True) for i in image]) - 16 / 255
    np.testing.assert_allclose(luminance(image)[:, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize('shape', [(1, 2, 4, 4), (3, 4, 4), (1, 4, 4, 4)])
def test_what_has_no_luminance_is_refused(shape):
    with pytest.raises(UserError, match='luminance'):
        luminance(torch.rand(shape))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 3), h=sizes, w=sizes, sigma=st.floats(0.3, 4), half=st.integers(0, 6), seed=st.integers(0, 99))
def test_high_frequency_is_opencvs_gaussian_taken_off(n, h, w, sigma, half, seed):
    torch.manual_seed(seed)
    image = torch.rand(n, 1, h, w)
    blurred = np.stack([cv2.GaussianBlur(i[0].numpy(), (2 * half + 1,) * 2, sigma, borderType=cv2.BORDER_REPLICATE)
                        for i in image])
    expected = np.abs(image[:, 0].numpy() - blurred)
    np.testing.assert_allclose(high_frequency(image, sigma, 2 * half + 1)[:, 0].numpy(), expected, atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), value=st.floats(0, 1))
def test_a_flat_image_has_none_to_the_bit_of_two_means(h, w, value):
    assert high_frequency(torch.full((1, 3, h, w), value)).max() < 1e-6


def test_half_types_are_computed_in_single_precision():
    image = torch.rand(1, 3, 8, 8).half()
    assert torch.equal(high_frequency(image), high_frequency(image[:, :3]).float())
    assert high_frequency(image).dtype == torch.float32


@pytest.mark.parametrize('sigma', [0.02, 0.1])
def test_noise_level_of_noise_on_a_slope(sigma):
    torch.manual_seed(0)
    slope = torch.linspace(0, 1, 200).expand(2, 1, 150, 200)
    level = noise_level(slope + sigma * torch.randn(2, 1, 150, 200))
    assert level.tolist() == pytest.approx([sigma, sigma], rel=0.03)


def test_noise_level_ignores_edges_and_small_images():
    steps = (torch.arange(64) % 16 < 8).float().expand(1, 1, 64, 64)
    assert noise_level(steps).item() == 0
    assert noise_level(torch.rand(3, 1, 1, 1)).tolist() == [0, 0, 0]


def test_discount_by_hand():
    torch.manual_seed(0)
    score = torch.rand(2, 1, 6, 7)
    level = torch.tensor([0.0, 0.4])
    kernel = torch.from_numpy(np.outer(gaussian(1.0, 5), gaussian(1.0, 5)))
    kernel[2, 2] -= 1
    result = discount_noise(score, level, 1.0, 5, strength=0.5)
    assert torch.equal(result[0], score[0])
    for y in range(6):
        for x in range(7):
            power = score[1, 0, max(y - 2, 0):y + 3, max(x - 2, 0):x + 3].square().mean()
            share = max(1 - 0.5 * 0.16 * kernel.square().sum().item() / power.item(), 0)
            assert result[1, 0, y, x].item() == pytest.approx(score[1, 0, y, x].item() * share**0.5, abs=1e-6)
