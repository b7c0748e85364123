"""Blur with a kernel per sample. Gaussian kernels and the filter are BasicSR's."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from basicsr.data.degradations import bivariate_Gaussian
from basicsr.utils.img_process_util import filter2D

from basicsr_amsr.data.degradations.kernels import disk_kernel, read_kernels
from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import TRANSFORM_REGISTRY
from basicsr_amsr.transforms.base import Generators, Transform, number_range, shown, uniform, whole_number


class Blur(Transform):
    """Correlation of each channel with a kernel per sample; images are mirrored at their border, the edge pixel not
    repeated (BasicSR's `filter2D`). A subclass draws the kernels."""

    def draw_kernels(self, generators: Generators) -> Sequence[np.ndarray]:
        """A kernel (k, k) per generator, k odd, of sum 1."""
        raise NotImplementedError

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        """Blur (B, C, H, W).

        Raises:
            UserError: an image is too small to be mirrored by half of the kernel.
        """
        kernels = self.draw_kernels(generators)
        side = max(len(kernel) for kernel in kernels)
        if min(batch.shape[-2:]) <= side // 2:
            raise UserError(f'{self!r}: an image or crop of {batch.shape[-2]}x{batch.shape[-1]} is too small for its '
                            f'kernel of {side}x{side}.')
        stack = np.stack([np.pad(kernel, (side - len(kernel)) // 2) for kernel in kernels])
        dtype = torch.promote_types(batch.dtype, torch.float32)
        return filter2D(batch.to(dtype).contiguous(), torch.from_numpy(stack).to(batch.device, dtype)).to(batch.dtype)


@TRANSFORM_REGISTRY.register()
class GaussianBlur(Blur):
    """Isotropic Gaussian blur.

    Args:
        sigma: standard deviation in pixels, or [low, high] to draw from.
        kernel_size: side of the kernel, odd. Default: the first odd number above 6·sigma.
    """

    def __init__(self, sigma: float | Sequence[float], kernel_size: int | None = None):
        self.sigma = number_range(sigma, 'sigma', minimum=1e-3)
        self.kernel_size = _kernel_size(kernel_size, self.sigma[1])
        self.margin = self.kernel_size // 2

    def __repr__(self) -> str:
        return f'Gaussian blur {shown(self.sigma)}'

    def draw_kernels(self, generators: Generators) -> Sequence[np.ndarray]:
        return [bivariate_Gaussian(self.kernel_size, sigma, sigma, 0, isotropic=True)
                for sigma in uniform(self.sigma, generators).tolist()]


@TRANSFORM_REGISTRY.register()
class AnisotropicGaussianBlur(Blur):
    """Gaussian blur with two widths, turned by an angle.

    Args:
        sigma: standard deviations of both axes in pixels, [low, high] to draw each from, or one number for both.
        angle: of the first axis, in degrees, or [low, high]. Default: any.
        kernel_size: side of the kernel, odd. Default: the first odd number above 6·sigma.
    """

    def __init__(self, sigma: float | Sequence[float], angle: float | Sequence[float] = (0.0, 180.0),
                 kernel_size: int | None = None):
        self.sigma = number_range(sigma, 'sigma', minimum=1e-3)
        self.angle = number_range(angle, 'angle')
        self.kernel_size = _kernel_size(kernel_size, self.sigma[1])
        self.margin = self.kernel_size // 2

    def __repr__(self) -> str:
        return f'anisotropic Gaussian blur {shown(self.sigma)}'

    def draw_kernels(self, generators: Generators) -> Sequence[np.ndarray]:
        sigmas = uniform(self.sigma, generators, 2).tolist()
        angles = uniform(self.angle, generators).tolist()
        return [bivariate_Gaussian(self.kernel_size, x, y, math.radians(angle), isotropic=False)
                for (x, y), angle in zip(sigmas, angles, strict=True)]


@TRANSFORM_REGISTRY.register()
class DiskBlur(Blur):
    """Blur of a defocused lens: a uniform disk.

    Args:
        radius: in pixels, or [low, high] to draw from; 0 leaves the image as it is.
    """

    def __init__(self, radius: float | Sequence[float]):
        self.radius = number_range(radius, 'radius', minimum=0)
        self.margin = len(disk_kernel(self.radius[1])) // 2

    def __repr__(self) -> str:
        return f'disk blur {shown(self.radius)}'

    def draw_kernels(self, generators: Generators) -> Sequence[np.ndarray]:
        return [disk_kernel(radius) for radius in uniform(self.radius, generators).tolist()]


@TRANSFORM_REGISTRY.register()
class KernelBlur(Blur):
    """Blur with kernels from files, one of them per sample.

    Kernels are correlated with the image as they are stored, as `cv2.filter2D` does; a convolution turns them by 180°.

    Args:
        path: a file, a folder, or a list of them; see `kernels.read_kernels`.
    """

    def __init__(self, path: str | Sequence[str]):
        self.path = [path] if isinstance(path, str) else list(path)
        self.kernels = [kernel for one in self.path for kernel in read_kernels(one)]
        if not self.kernels:
            raise UserError('path names no kernel.')
        self.margin = max(len(kernel) for kernel in self.kernels) // 2

    def __repr__(self) -> str:
        return f'kernels of {", ".join(self.path)}'

    def draw_kernels(self, generators: Generators) -> Sequence[np.ndarray]:
        return [self.kernels[int(torch.randint(len(self.kernels), (), generator=one))] for one in generators]


def _kernel_size(size: int | None, sigma: float) -> int:
    return 2 * math.ceil(3 * sigma) + 1 if size is None else whole_number(size, 'kernel_size', odd=True)
