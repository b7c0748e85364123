"""The DCT against SciPy's, and its inverse."""
import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.sfm.dct import dct2, dct_matrix, idct2

SIZES = [(1, 1), (1, 7), (5, 1), (2, 2), (7, 5), (40, 40), (64, 48), (192, 192), (321, 481)]


def images(height, width, batch=(2, 3), dtype=torch.float32, seed=0):
    return torch.rand(*batch, height, width, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def scipy_dct2(image):
    return scipy.fft.dctn(image.double().numpy(), type=2, norm='ortho', axes=(-2, -1))


@pytest.fixture(params=['chosen', 'products'])
def way(request, monkeypatch):
    """On a CPU large planes go through SciPy's FFT; products, as on a GPU, have to be right for them too."""
    if request.param == 'products':
        monkeypatch.setattr('basicsr_amsr.sfm.dct.FFT_SIDE', 1 << 30)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('size', SIZES)
def test_it_is_scipys_in_single_precision(size):
    x = images(*size)
    np.testing.assert_allclose(dct2(x).numpy(), scipy_dct2(x), rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 48), width=st.integers(1, 48), seed=st.integers(0, 99))
def test_it_is_scipys_in_double_precision(height, width, seed):
    x = images(height, width, dtype=torch.float64, seed=seed)
    np.testing.assert_allclose(dct2(x).numpy(), scipy_dct2(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(idct2(x).numpy(), scipy.fft.idctn(x.numpy(), type=2, norm='ortho', axes=(-2, -1)),
                               rtol=0, atol=1e-12)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('size', SIZES)
def test_there_and_back(size):
    x = images(*size)
    torch.testing.assert_close(idct2(dct2(x)), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize('size', [1, 2, 3, 192, 481])
def test_the_matrix_is_orthonormal(size):
    matrix = dct_matrix(size, torch.device('cpu'), torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_single(dtype):
    x = images(33, 20).to(dtype)
    coefficients = dct2(x)
    assert coefficients.dtype == torch.float32
    torch.testing.assert_close(coefficients, dct2(x.float()), rtol=0, atol=0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(dct2(x.float()), coefficients, rtol=0, atol=0)


def test_a_matrix_made_in_inference_mode_serves_training():
    dct_matrix.cache_clear()
    with torch.inference_mode():
        dct2(images(11, 13))
    x = images(11, 13).requires_grad_()
    dct2(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=0, atol=1e-5)  # Parseval


@pytest.mark.cuda
def test_the_gpu_agrees():
    x = images(192, 192)
    torch.testing.assert_close(dct2(x.cuda()).cpu(), dct2(x), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(idct2(dct2(x.cuda())).cpu(), x, rtol=0, atol=1e-5)


def test_gradients_pass_through_large_planes():
    x = images(70, 65).requires_grad_()
    weights = torch.rand_like(x)
    (dct2(x) * weights).sum().backward()
    torch.testing.assert_close(x.grad, idct2(weights), rtol=0, atol=1e-4)  # the transpose is the inverse
    assert not dct2(x.detach()).requires_grad
