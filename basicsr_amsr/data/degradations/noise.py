"""Gaussian and Poisson-Gaussian noise over a range of levels, and rounding to 8 bits.

BasicSR's noise functions draw from the global random state alone; these take the sample's generator. With the same seed
`GaussianNoise` adds bit by bit what BasicSR's `add_gaussian_noise_pt` adds. BasicSR's Poisson noise is not used: its
number of photons is the number of distinct values in the patch, which is no level.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from basicsr_amsr.registry import TRANSFORM_REGISTRY
from basicsr_amsr.transforms.base import (
    Generators,
    Transform,
    generator_on,
    number_range,
    per_sample,
    pixelwise,
    shown,
    uniform,
)


@TRANSFORM_REGISTRY.register()
class GaussianNoise(Transform):
    """White Gaussian noise.

    Args:
        sigma: standard deviation on the 0–255 scale, or [low, high]: uniform per sample, for blind denoising.
        clip: clamp to 0–1 afterwards.
    """

    def __init__(self, sigma: float | Sequence[float], clip: bool = True):
        self.sigma = number_range(sigma, 'sigma', minimum=0)
        self.clip = clip

    def __repr__(self) -> str:
        return f'Gaussian noise {shown(self.sigma)}{", clipped" if self.clip else ""}'

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        sigma = per_sample(uniform(self.sigma, generators), batch)
        result = batch + pixelwise(torch.randn, batch, generators) * sigma / 255.0
        return (result.clamp_(0, 1) if self.clip else result).to(batch.dtype)


@TRANSFORM_REGISTRY.register()
class PoissonGaussianNoise(Transform):
    """Shot and read noise: Poisson(peak·x) / peak + N(0, sigma), of variance x / peak + (sigma / 255)².

    Args:
        peak: photons of a pixel of value 1, or [low, high], of which the logarithm is uniform per sample.
        sigma: standard deviation of the Gaussian part on the 0–255 scale, or [low, high]. Default: 0.
        clip: clamp to 0–1 afterwards.
    """

    def __init__(self, peak: float | Sequence[float], sigma: float | Sequence[float] = 0.0, clip: bool = True):
        self.peak = number_range(peak, 'peak', minimum=1e-3)
        self.sigma = number_range(sigma, 'sigma', minimum=0)
        self.clip = clip

    def __repr__(self) -> str:
        clipped = ', clipped' if self.clip else ''
        return f'Poisson-Gaussian noise, peak {shown(self.peak)}, sigma {shown(self.sigma)}{clipped}'

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        low, high = (math.log(bound) for bound in self.peak)
        peak = per_sample(uniform((low, high), generators).exp(), batch)
        sigma = per_sample(uniform(self.sigma, generators), batch)
        photons = batch.clamp(min=0).to(peak.dtype) * peak
        local = [generator_on(batch.device, generator) for generator in generators]
        result = torch.stack([torch.poisson(sample, generator=one)
                              for sample, one in zip(photons, local, strict=True)]) / peak
        if self.sigma[1] > 0:
            result += pixelwise(torch.randn, batch, local) * sigma / 255.0
        return (result.clamp_(0, 1) if self.clip else result).to(batch.dtype)


@TRANSFORM_REGISTRY.register()
class Quantize(Transform):
    """Clamp to 0–1 and round to the 256 values of an 8-bit file."""

    def __repr__(self) -> str:
        return '8 bits'

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        return (batch.clamp(0, 1) * 255).round_() / 255
