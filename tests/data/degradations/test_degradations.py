"""Degradations against BasicSR's functions, formulas and their statistics."""
import math

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.degradations import add_gaussian_noise_pt, add_jpg_compression, bivariate_Gaussian
from scipy.stats import kstest

from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.degradations.blur import AnisotropicGaussianBlur, DiskBlur, GaussianBlur, KernelBlur
from basicsr_amsr.data.degradations.compression import JPEG
from basicsr_amsr.data.degradations.downscale import Downscale
from basicsr_amsr.data.degradations.noise import GaussianNoise, PoissonGaussianNoise, Quantize
from basicsr_amsr.errors import UserError
from basicsr_amsr.transforms.base import seeded_generator

ALL = [GaussianBlur([0.5, 2]), AnisotropicGaussianBlur([0.5, 2]), DiskBlur([0, 3]), Downscale(2),
       Downscale(4, 'subsample'), GaussianNoise([0, 55]), GaussianNoise([0, 55], clip=False),
       PoissonGaussianNoise([10, 1000], [0, 20]), Quantize(), JPEG([30, 95])]


def seeded(seed=0):
    return seeded_generator(seed)


def batch(*shape, seed=0):
    return torch.rand(*shape, generator=seeded(seed))


@pytest.mark.parametrize('transform', ALL, ids=repr)
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_what_all_have_in_common(transform, channels, dtype):
    x = batch(5, channels, 24, 32).to(dtype)
    before = x.clone()
    result = transform(x, seeded(3))
    assert torch.equal(x, before) and result.data_ptr() != x.data_ptr()
    assert result.dtype == dtype and result.isfinite().all()
    assert result.shape == (5, channels, 24 // transform.scale, 32 // transform.scale)
    assert torch.equal(result, transform(x, seeded(3)))
    assert torch.equal(transform(x[0], seeded(3)), transform(x[:1], [seeded(3)])[0])
    together = transform(x, [seeded(number) for number in range(5)])
    for number in range(5):  # a sample's draws do not depend on what it shares a batch with
        torch.testing.assert_close(together[number], transform(x[number], seeded(number)))


def cv2_filter(x, kernel):
    return np.stack([cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT_101) for plane in x.numpy()])


def test_gaussian_blur_is_basicsrs_kernel():
    x = batch(3, 20, 26)
    expected = cv2_filter(x, bivariate_Gaussian(11, 1.7, 1.7, 0))
    assert GaussianBlur(1.7).draw_kernels([seeded()])[0].shape == (13, 13)  # 6 sigma is 10.2
    np.testing.assert_allclose(GaussianBlur(1.7, kernel_size=11)(x).numpy(), expected, atol=1e-6)


def test_each_sample_has_a_kernel_of_its_own():
    x = batch(1, 2, 30, 30).expand(4, -1, -1, -1)
    transform = AnisotropicGaussianBlur([0.6, 3])
    kernels = transform.draw_kernels([seeded(seed) for seed in range(4)])
    for result, kernel in zip(transform(x, [seeded(seed) for seed in range(4)]), kernels, strict=True):
        np.testing.assert_allclose(result.numpy(), cv2_filter(x[0], kernel), atol=1e-6)
    assert not np.allclose(kernels[0], kernels[1])


def test_the_angle_of_an_anisotropic_kernel():
    # along its first axis, which an angle of 90 degrees turns onto the rows, the kernel has the larger variance
    (kernel,) = AnisotropicGaussianBlur([0.5, 3], angle=0).draw_kernels([seeded(1)])
    (turned,) = AnisotropicGaussianBlur([0.5, 3], angle=90).draw_kernels([seeded(1)])
    assert not np.allclose(kernel, kernel.T)
    np.testing.assert_allclose(turned, kernel.T, atol=1e-12)


def test_kernels_of_different_sizes_in_one_batch(tmp_path):
    shift = np.zeros((3, 3))
    shift[1, 2] = 1  # correlation: each pixel takes its right neighbour
    np.save(tmp_path / 'a.npy', shift)
    np.save(tmp_path / 'b.npy', np.eye(7)[3:4] * np.eye(7)[:, 3:4])  # one pixel in the middle: no blur
    transform = KernelBlur(str(tmp_path))
    assert transform.margin == 3
    x = batch(1, 1, 9, 12).expand(40, -1, -1, -1)
    moved = [torch.equal(result[..., :-1], x[0, :, :, 1:]) for result in transform(x, seeded())]
    still = [torch.equal(result, x[0]) for result in transform(x, seeded())]
    assert any(moved) and any(still) and all(a != b for a, b in zip(moved, still, strict=True))


def test_a_disk_of_radius_0_is_no_blur():
    x = batch(2, 3, 8, 8)
    assert torch.equal(DiskBlur(0)(x), x)


def test_an_image_smaller_than_its_kernel():
    with pytest.raises(UserError, match='Gaussian blur 2: an image or crop of 6x30 is too small for its kernel of 13x'):
        GaussianBlur(2)(batch(3, 6, 30))
    assert GaussianBlur(2)(batch(3, 7, 7)).shape == (3, 7, 7)


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_downscale_is_matlabs_on_floats(scale):
    x = batch(2, 3, 12 * 3, 12 * 5)
    for image, result in zip(x, Downscale(scale)(x), strict=True):
        expected = downscale(np.ascontiguousarray(image.numpy().transpose(1, 2, 0)), scale).transpose(2, 0, 1)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)
    assert torch.equal(Downscale(scale, 'subsample')(x), x[..., ::scale, ::scale])


def test_downscale_refuses_what_does_not_divide():
    with pytest.raises(UserError, match='9x12 is no multiple of scale 4'):
        Downscale(4)(batch(3, 9, 12))


@pytest.mark.parametrize('clip', [True, False])
def test_gaussian_noise_is_basicsrs_under_the_same_seed(clip):
    x = batch(3, 3, 10, 10)
    result = GaussianNoise(25, clip=clip)(x, [seeded(seed) for seed in (11, 12, 13)])
    for index, seed in enumerate((11, 12, 13)):
        torch.manual_seed(seed)
        assert torch.equal(result[index], add_gaussian_noise_pt(x[index:index + 1], sigma=25, clip=clip)[0])


def test_blind_noise_levels_are_uniform():
    x = torch.full((600, 1, 32, 32), 0.5)
    levels = (GaussianNoise([0, 55], clip=False)(x, seeded()) - x).flatten(1).square().mean(1).sqrt().numpy() * 255
    # each measured level is within about 2 % of its own; the smallest p-value of a right implementation is above this
    # in all but one of a thousand seeds
    assert kstest(levels / 55, 'uniform').pvalue > 1e-3


@pytest.mark.parametrize(('peak', 'sigma'), [(20, 0), (200, 0), (50, 15)])
def test_poisson_gaussian_noise_has_its_variance(peak, sigma):
    count = 200_000
    for value in (0.1, 0.5, 0.9):
        noisy = PoissonGaussianNoise(peak, sigma, clip=False)(torch.full((1, 1, 400, 500), value), seeded()).double()
        variance = value / peak + (sigma / 255)**2
        assert abs(noisy.mean() - value) < 4 * math.sqrt(variance / count)
        # a variance's relative spread is sqrt((kurtosis − 1) / n); Poisson's excess kurtosis is 1 / (peak·value)
        spread = math.sqrt((2 + 1 / (peak * value)) / count)
        assert abs(noisy.var() / variance - 1) < 4 * spread
    if sigma == 0:
        photons = noisy * peak
        torch.testing.assert_close(photons, photons.round(), rtol=0, atol=1e-3)


def test_clipping_and_rounding():
    x = batch(2, 3, 16, 16)
    wild = GaussianNoise(100, clip=False)(x, seeded())
    assert wild.min() < 0 and wild.max() > 1
    assert torch.equal(GaussianNoise(100)(x, seeded()), wild.clamp(0, 1))
    assert torch.equal(Quantize()(wild), (wild.clamp(0, 1) * 255).round() / 255)


@pytest.mark.parametrize('quality', [10, 50, 95])
def test_jpeg_is_basicsrs(quality, capfd):
    x = batch(2, 3, 19, 26)
    result = JPEG(quality)(x)
    assert capfd.readouterr().err == ''  # BasicSR's call makes OpenCV warn
    for image, ours in zip(x.numpy(), result.numpy(), strict=True):
        theirs = add_jpg_compression(np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1]), quality)
        assert np.array_equal(ours, theirs[..., ::-1].transpose(2, 0, 1))


def test_jpeg_of_gray_and_of_other_channels():
    x = batch(1, 1, 16, 24)
    (theirs,) = (add_jpg_compression(x[0].numpy().transpose(1, 2, 0), 40),)
    assert np.array_equal(JPEG(40)(x)[0, 0].numpy(), theirs[..., 0])
    with pytest.raises(UserError, match='1 or 3 channels, not 2'):
        JPEG(40)(batch(2, 8, 8))


def test_jpeg_qualities_include_both_ends(monkeypatch):
    import basicsr_amsr.data.degradations.compression as compression
    seen = []
    monkeypatch.setattr(compression, '_compress', lambda image, quality: seen.append(quality) or image)
    JPEG([60, 62])(batch(3000, 1, 1, 1), seeded())
    counts = np.bincount(seen, minlength=63)[60:]
    assert counts.sum() == 3000 and len(counts) == 3
    assert ((counts - 1000)**2 / 1000).sum() < 18.4  # chi-squared, 2 degrees of freedom, p = 1e-4


@pytest.mark.cuda
@pytest.mark.parametrize('transform', ALL, ids=repr)
def test_on_the_gpu(transform):
    x = batch(5, 3, 24, 32)
    result = transform(x.cuda(), seeded(3))
    assert result.is_cuda
    assert torch.equal(result, transform(x.cuda(), seeded(3)))
    if 'noise' not in repr(transform):
        torch.testing.assert_close(result.cpu(), transform(x, seeded(3)), rtol=0, atol=1e-5)
