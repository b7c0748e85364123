"""PSNR on Y with a border of the scale."""
import cv2
import numpy as np
import pytest
import torch

from basicsr_amsr.bench.quality import mean_psnr, pair, psnr
from basicsr_amsr.data.bicubic import downscale


def write(path, size, value=None, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels if value is None else np.full_like(pixels, value))
    return path


def test_pairs_are_cropped_to_multiples_of_the_scale(tmp_path):
    low, high = pair(write(tmp_path / 'a.png', (13, 18)), 4)
    pixels = cv2.imread(str(tmp_path / 'a.png'))
    np.testing.assert_array_equal(high, pixels[:12, :16])
    np.testing.assert_array_equal((low[0].permute(1, 2, 0) * 255).round().numpy(), downscale(pixels, 4)[..., ::-1])
    gray = pair(tmp_path / 'a.png', 4, channels=1)
    assert gray[0].shape == (1, 1, 3, 4) and gray[1].shape == (12, 16, 1)


def test_psnr_is_that_of_y_inside_the_border():
    high = np.full((12, 16, 3), 100, np.uint8)
    off = torch.full((1, 3, 12, 16), 100 / 255)
    off[:, :, :4] = 1.0  # the border does not count
    off[:, :, 4:, :] += 10 / 255
    # 10 levels on all channels are 10 · 219 / 255 on Y.
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    assert psnr(off, high, 4) == pytest.approx(expected, abs=1e-3)
    assert psnr(off[:, :1], high[..., :1], 4) == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)


def test_means_over_files(tmp_path):
    files = [write(tmp_path / 'a.png', (16, 16), 100), write(tmp_path / 'b.png', (20, 24), 60)]

    def network(offset):
        return lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3) + offset / 255

    found = mean_psnr({'ten': network(10), 'five': network(5)}, files, 2, torch.zeros(1, 3, 4, 4))
    assert found['ten'] == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-3)
    assert found['five'] - found['ten'] == pytest.approx(20 * np.log10(2), abs=1e-3)
