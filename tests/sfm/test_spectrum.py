"""Power by band of spatial frequency, against images whose spectrum is known."""
import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from basicsr_amsr.sfm.spectrum import band_frequencies, band_power


def by_loop(image, bands):
    """Coefficient by coefficient, from SciPy's DCT."""
    height, width = image.shape
    found = [[] for _ in range(bands)]
    coefficients = dctn(image.double().numpy(), norm='ortho')
    for i in range(height):
        for j in range(width):
            band = int(math.hypot(i / (2 * height), j / (2 * width)) * bands / 0.5)
            if band < bands:
                found[band].append(coefficients[i, j]**2)
    return np.array([np.mean(values) if values else np.nan for values in found])


@pytest.mark.parametrize('size', [(16, 16), (13, 30), (1, 7), (1, 1), (64, 5)])
@pytest.mark.parametrize('bands', [1, 10, 37])
def test_it_is_the_mean_of_squared_coefficients(size, bands):
    image = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(band_power(image, bands).numpy(), by_loop(image, bands), rtol=1e-9, atol=1e-12)


def test_white_noise_has_its_variance_everywhere():
    noise = torch.randn(400, 400, generator=torch.Generator().manual_seed(0)) * 25
    power = band_power(noise, 20)
    # the band around DC has about 150 coefficients: a spread of sqrt(2 / 150) = 12 %
    torch.testing.assert_close(power, torch.full((20,), 625.0, dtype=torch.float64), rtol=0.4, atol=0)
    torch.testing.assert_close(power[5:], torch.full((15,), 625.0, dtype=torch.float64), rtol=0.1, atol=0)


@pytest.mark.parametrize('frequency', [0.1, 0.25, 0.45])
def test_a_wave_is_in_its_band(frequency):
    size, bands = 200, 50
    index = round(frequency * 2 * size)
    wave = torch.cos(math.pi * (2 * torch.arange(size, dtype=torch.float64) + 1) * index / (2 * size))
    power = band_power(wave.expand(size, size), bands)
    strongest = int(power.argmax())
    assert abs(float(band_frequencies(bands)[strongest]) - index / (2 * size)) <= 0.25 / bands + 1e-9
    assert power.sum() - power.max() < 1e-9 * power.max()


def test_batches_and_other_types():
    images = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    power = band_power(images, 8)
    assert power.shape == (2, 3, 8) and power.dtype == torch.float64
    torch.testing.assert_close(power[1, 2], band_power(images[1, 2], 8), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(band_power(images.half(), 8), band_power(images.half().float(), 8))
    with pytest.raises(ValueError, match='bands is 0'):
        band_power(images, 0)
