"""The two-dimensional DCT-II and its inverse, orthonormal: matrix products on any device, or SciPy's FFT on a CPU."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch

# From this side on SciPy's FFT takes less time than products do, on a CPU: products of N×N planes take 4·N³
# multiplications for there and back. 32×3×192×192 took 86 ms of CPU time by products, the two FFTs take 24.
FFT_SIDE = 64


def dct2(image: torch.Tensor) -> torch.Tensor:
    """Coefficients of each (H, W) plane: `scipy.fft.dctn(image, type=2, norm='ortho', axes=(-2, -1))`.

    Args:
        image: (…, H, W), floating point, any size from 1×1 on.

    Returns:
        (…, H, W), DC first: float64 for float64, else float32, also within autocast. Half and bfloat16 are converted
        before, and the coefficients are not rounded to them. Where the user allows TF32, products are as exact as that.
    """
    image = _precise(image)
    # DC is far larger than the rest, and its rounding errors would end up in the lowest frequencies: it goes apart.
    mean = image.mean((-2, -1), keepdim=True)
    if _by_fft(image):
        coefficients = _scipy('dctn', image - mean, overwrite_x=True)
    else:
        rows, columns = (dct_matrix(size, image.device, image.dtype) for size in image.shape[-2:])
        with torch.autocast(image.device.type, enabled=False):
            coefficients = rows @ ((image - mean) @ columns.T)
    coefficients[..., :1, :1] += mean * math.sqrt(image.shape[-2] * image.shape[-1])
    return coefficients


def idct2(coefficients: torch.Tensor) -> torch.Tensor:
    """The inverse of `dct2`, with the same types."""
    coefficients = _precise(coefficients)
    if _by_fft(coefficients):
        return _scipy('idctn', coefficients)
    rows, columns = (dct_matrix(size, coefficients.device, coefficients.dtype) for size in coefficients.shape[-2:])
    with torch.autocast(coefficients.device.type, enabled=False):
        return (rows.T @ coefficients) @ columns


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is cached has to serve outside of inference mode too
def dct_matrix(size: int, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The orthonormal DCT-II of `size` points as a matrix: row k is sqrt(2/N)·cos(π(2n + 1)k / 2N), row 0 sqrt(1/N).

    One tensor for all callers: not to be edited.
    """
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64) * 2 + 1
    # the angle's integer part modulo its period 4N, so that large sizes lose no digits
    matrix = torch.cos((frequency * position % (4 * size)) * (math.pi / (2 * size))) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return matrix.to(device, dtype)


def _by_fft(planes: torch.Tensor) -> bool:
    """Whether SciPy does it: plain numbers of a CPU, without gradients, that are not being traced."""
    return (type(planes) is torch.Tensor and planes.device.type == 'cpu' and min(planes.shape[-2:]) >= FFT_SIDE
            and planes.numel() > 0 and not (planes.requires_grad and torch.is_grad_enabled())
            and not torch.compiler.is_compiling())


def _scipy(transform: Literal['dctn', 'idctn'], planes: torch.Tensor, overwrite_x: bool = False) -> torch.Tensor:
    import scipy.fft  # takes a quarter of a second to import

    # One worker: PyTorch's threads, which wait for work in a loop, would take the cores of SciPy's.
    planes_in = planes.detach().numpy()
    return torch.from_numpy(getattr(scipy.fft, transform)(planes_in, axes=(-2, -1), norm='ortho',
                                                          overwrite_x=overwrite_x))


def _precise(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
