"""The downscaler against published LR files, rational arithmetic, PyTorch's antialiased bicubic and Set5's PSNR."""
from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import bgr2ycbcr
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from basicsr_amsr.data.bicubic import downscale, downscale_window, imresize
from basicsr_amsr.data.image_io import list_images, read_image, to_float


@st.composite
def images(draw, dtypes=(np.uint8, np.uint16, np.float32, np.float64), most=40, least=1):
    """Noise with extremes, of odd sizes too: (H, W) or (H, W, C)."""
    height, width = draw(st.integers(least, most)), draw(st.integers(least, most))
    shape = draw(st.sampled_from([(height, width), (height, width, 1), (height, width, 3)]))
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if np.dtype(dtype).kind == 'f':
        return rng.standard_normal(shape).astype(dtype)
    top = np.iinfo(dtype).max
    return rng.choice([0, 1, top // 2, top - 1, top], shape).astype(dtype)


def exact_cubic(x: Fraction) -> Fraction:
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x < 2 else Fraction(0)


def exact_line(line: list[int], length: int, scale: Fraction, top: int) -> list[int]:
    """MATLAB's resizing of one line of integers in rational arithmetic, with 1-based coordinates as in its source."""
    stretch, mirrored, result = min(scale, Fraction(1)), line + line[::-1], []
    for x in range(1, length + 1):
        centre = x / scale + (1 - 1 / scale) / 2
        reach = math.ceil(2 / stretch) + 1
        taps = range(math.floor(centre) - reach, math.floor(centre) + reach + 1)
        weights = [exact_cubic((centre - tap) * stretch) for tap in taps]
        value = sum(w * mirrored[(tap - 1) % len(mirrored)] for w, tap in zip(weights, taps, strict=True))
        value /= sum(weights)
        rounded = math.floor(abs(value) + Fraction(1, 2)) * (1 if value > 0 else -1)  # half away from zero
        result.append(min(max(rounded, 0), top))
    return result


def exact_resize(img: np.ndarray, scale: Fraction) -> np.ndarray:
    """Rows first, both passes rounded."""
    top = np.iinfo(img.dtype).max
    for axis in (0, 1):
        length = math.ceil(img.shape[axis] * scale)
        img = np.apply_along_axis(lambda line, n=length: exact_line([int(v) for v in line], n, scale, top), axis, img)
    return img


def torch_resize(img: np.ndarray, height: int, width: int) -> np.ndarray:
    """PyTorch's antialiased bicubic in float64; mirrored copies around the image take its own border treatment away."""
    copies = [math.ceil(4 * max(1, n / m) / n) + 1 for n, m in zip(img.shape, (height, width), strict=True)]
    around = np.pad(img, [(c * n, c * n) for c, n in zip(copies, img.shape, strict=True)], mode='symmetric')
    size = [(2 * c + 1) * m for c, m in zip(copies, (height, width), strict=True)]
    whole = torch.nn.functional.interpolate(torch.from_numpy(around)[None, None], size=size, mode='bicubic',
                                            antialias=True)[0, 0].numpy()
    return whole[copies[0] * height:(copies[0] + 1) * height, copies[1] * width:(copies[1] + 1) * width]


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_published_lr_files_bit_for_bit(shared, scale):
    for path in list_images(shared / 'data/reference_lr/Set5_HR'):
        expected = cv2.imread(str(shared / f'data/reference_lr/Set5_x{scale}/{path.stem}x{scale}.png'))
        result = downscale(read_image(path), scale)
        assert result.shape == expected.shape
        assert np.count_nonzero(result != expected) == 0, path.name


@pytest.mark.parametrize(('scale', 'published'), [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_published_psnr_of_bicubic_on_set5(shared, scale, published):
    """Table 1 of SRCNN (Dong et al., TPAMI 2016): luma resized down and up as floats in 0–1, border of `scale` off."""
    values = []
    for path in list_images(shared / 'data/reference_lr/Set5_HR'):
        luma = np.floor(bgr2ycbcr(to_float(read_image(path)), y_only=True) * 255 + 0.5)
        luma = luma[:luma.shape[0] // scale * scale, :luma.shape[1] // scale * scale]
        restored = imresize(downscale(luma / 255, scale), float(scale))
        error = (np.floor(np.clip(restored, 0, 1) * 255 + 0.5) - luma)[scale:-scale, scale:-scale]
        values.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert round(float(np.mean(values)), 2) == published


@settings(max_examples=25)
@given(images((np.uint8, np.uint16), most=17), st.sampled_from([1, 2, 3, 4, 5, 6, 8]))
def test_shrinking_integers_equals_rational_arithmetic(img, factor):
    np.testing.assert_array_equal(imresize(img, 1 / factor), exact_resize(img, Fraction(1, factor)))


@pytest.mark.parametrize('factor', [8, 12, 16])
def test_large_factors_stay_exact_on_large_images(factor):
    """Where float32 no longer holds every sum: a long line of noise against integer arithmetic."""
    line = np.random.default_rng(0).integers(0, 256, 4_000_000 // factor * factor).astype(np.uint8)
    taps = range(-2 * factor, 3 * factor)
    weights = [exact_cubic(Fraction(2 * tap - (factor - 1), 2 * factor)) for tap in taps]
    total = sum(weights)
    divisor = math.lcm(*((w / total).denominator for w in weights))
    numerators = np.array([int(w / total * divisor) for w in weights])
    padded = np.pad(line.astype(np.int64), 2 * factor, mode='symmetric')
    sums = np.convolve(padded, numerators[::-1], mode='valid')[::factor][:line.size // factor]
    expected = np.clip((2 * sums + divisor) // (2 * divisor), 0, 255)
    np.testing.assert_array_equal(imresize(line[:, None], (expected.size, 1))[:, 0], expected)


@settings(max_examples=15)
@given(images((np.uint8, np.uint16), most=7), st.sampled_from([2, 3, 4]))
def test_enlarging_integers_equals_rational_arithmetic(img, factor):
    np.testing.assert_array_equal(imresize(img, factor), exact_resize(img, Fraction(factor)))


@settings(max_examples=60)
@given(npst.arrays(np.float64, npst.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.floats(-1, 1)),
       st.integers(1, 40), st.integers(1, 40))
def test_any_size_equals_pytorch(img, height, width):
    np.testing.assert_allclose(imresize(img, (height, width)), torch_resize(img, height, width), atol=1e-12)


@pytest.mark.parametrize('scale', [0.5, 1 / 3, 0.25, 0.4, 2, 3])
def test_floats_equal_basicsr(scale):
    """BasicSR does not round; without rounding both mean the same operation."""
    img = np.random.default_rng(0).random((37, 50, 3)).astype(np.float32)
    np.testing.assert_allclose(imresize(img, scale), basicsr_imresize(img, scale), atol=2e-5)


@settings(max_examples=150)
@given(images(), st.integers(1, 8), st.data())
def test_window_is_bitwise_the_crop_of_the_whole(img, scale, data):
    rows, cols = img.shape[0] // scale, img.shape[1] // scale
    if not (rows and cols):
        with pytest.raises(ValueError, match=f'too small for scale {scale}'):
            downscale(img, scale)
        return
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    height, width = data.draw(st.integers(1, rows - top)), data.draw(st.integers(1, cols - left))
    window = downscale_window(img, top, left, height, width, scale)
    whole = imresize(img[:rows * scale, :cols * scale], 1 / scale)
    np.testing.assert_array_equal(downscale(img, scale), whole)
    assert window.dtype == img.dtype and window.flags.c_contiguous
    assert window.tobytes() == np.ascontiguousarray(whole[top:top + height, left:left + width]).tobytes()


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_window_reads_only_a_margin(scale):
    img = np.random.default_rng(0).random((120, 132))
    expected = downscale_window(img, 10, 12, 5, 6, scale)
    outside = np.ones(img.shape, bool)
    outside[(10 - 2) * scale:(15 + 2) * scale, (12 - 2) * scale:(18 + 2) * scale] = False
    img[outside] = np.nan
    np.testing.assert_array_equal(downscale_window(img, 10, 12, 5, 6, scale), expected)


@settings(max_examples=60)
@given(st.sampled_from([np.uint8, np.uint16]), st.data(), st.tuples(st.integers(1, 20), st.integers(1, 20)),
       st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0, 1.5, 3.0]))
def test_constant_images_stay_constant(dtype, data, shape, scale):
    value = data.draw(st.integers(0, int(np.iinfo(dtype).max)))
    result = imresize(np.full(shape, value, dtype), scale)
    assert result.shape == tuple(math.ceil(n * scale) for n in shape) and result.dtype == dtype
    assert (result == value).all()


@settings(max_examples=40)
@given(images((np.uint8, np.uint16), least=8), st.integers(1, 4))
def test_flipping_commutes(img, scale):
    """The kernel is symmetric and integer sums are exact, so mirrored training pairs stay what the downscaler makes."""
    img = img[:img.shape[0] // scale * scale, :img.shape[1] // scale * scale]
    np.testing.assert_array_equal(downscale(img[::-1, ::-1], scale), downscale(img, scale)[::-1, ::-1])


def test_dimension_that_shrinks_most_goes_first():
    img = np.random.default_rng(0).choice([0, 255], (24, 24)).astype(np.uint8)
    by_hand = imresize(imresize(img, (24, 6)), (12, 6))
    np.testing.assert_array_equal(imresize(img, (12, 6)), by_hand)
    assert (imresize(imresize(img, (12, 24)), (12, 6)) != by_hand).any()


def test_no_antialiasing_samples_sharply():
    """Without it the kernel spans four input pixels: at half size the weights are (-1, 9, 9, -1) / 16."""
    line = np.random.default_rng(0).random((1, 12))
    expected = [line[0, i:i + 4] @ [-1, 9, 9, -1] / 16 for i in range(1, 8, 2)]
    np.testing.assert_allclose(imresize(line, (1, 6), antialias=False)[0, 1:5], expected, atol=1e-15)


@pytest.mark.parametrize(('img', 'scale', 'error', 'words'), [
    (np.zeros((4, 4), np.int32), 0.5, TypeError, 'int32'),
    (np.zeros((0, 4), np.uint8), 0.5, ValueError, r'\(0, 4\)'),
    (np.zeros((4,), np.uint8), 0.5, ValueError, r'\(4,\)'),
    (np.zeros((4, 4), np.uint8), 0, ValueError, 'positive'),
    (np.zeros((4, 4), np.uint8), -1.0, ValueError, 'positive'),
    (np.zeros((4, 4), np.uint8), math.inf, ValueError, 'positive'),
    (np.zeros((4, 4), np.uint8), (0, 3), ValueError, 'positive'),
])
def test_imresize_refuses(img, scale, error, words):
    with pytest.raises(error, match=words):
        imresize(img, scale)


@pytest.mark.parametrize(('window', 'scale', 'words'), [
    ((0, 0, 4, 3), 2, 'leaves the LR image of 3x4'),
    ((-1, 0, 1, 1), 2, 'leaves'),
    ((0, 0, 0, 1), 2, 'leaves'),
    ((0, 0, 1, 1), 0, 'whole number'),
    ((0, 0, 1, 1), 2.5, 'whole number'),
    ((0, 0, 1, 1), 7, 'too small for scale 7'),
])
def test_window_refuses(window, scale, words):
    with pytest.raises(ValueError, match=words):
        downscale_window(np.zeros((6, 8), np.uint8), *window, scale)
