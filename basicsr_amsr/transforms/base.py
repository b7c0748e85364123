"""What a transform of images is, where its randomness comes from, and the numbers of its options."""
from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from basicsr_amsr.errors import UserError

Range = tuple[float, float]
Generators = Sequence[torch.Generator]


class Transform:
    """A transform of images that draws anew for every sample and never edits its input.

    A subclass is registered in TRANSFORM_REGISTRY, takes its options as keyword arguments and implements `apply`.

    Attributes:
        margin (int): how far beyond a pixel its result depends on others, in pixels of its input.
        scale (int): by how much it shrinks height and width.
    """

    margin = 0
    scale = 1

    def __call__(self, image: torch.Tensor, generator: torch.Generator | Generators | None = None) -> torch.Tensor:
        """Transform one image or a batch, each sample by draws of its own.

        Args:
            image: (C, H, W) or (B, C, H, W), floating point, values in 0–1.
            generator: a generator of the CPU for an image, or one per sample of a batch, on any device: a sample's
                draws are the same alone and in any batch. One generator for a batch draws their seeds; without one,
                a seed is drawn from Python's `random`, so that whoever seeds that (for a run, a worker, a sample)
                decides.

        Returns:
            A tensor of the same type and device that shares no memory with `image`.

        Raises:
            ValueError: another number of dimensions, an empty image or integer pixels, another number of generators
                than samples.
        """
        if image.dim() not in (3, 4) or 0 in image.shape[-3:] or not image.is_floating_point():
            raise ValueError(f'{type(self).__name__} takes floating-point images of shape (C, H, W) or (B, C, H, W), '
                             f'not {image.dtype} of shape {tuple(image.shape)}')
        if generator is None:
            generator = drawn_generator()
        batch = image if image.dim() == 4 else image[None]
        if isinstance(generator, torch.Generator):
            generator = [generator] if image.dim() == 3 else sample_generators(generator, len(batch))
        if len(generator) != len(batch):
            raise ValueError(f'{type(self).__name__} got {len(generator)} generators for {len(batch)} samples')
        result = self.apply(batch, generator)
        return result if image.dim() == 4 else result[0]

    def apply(self, batch: torch.Tensor, generators: Generators) -> torch.Tensor:
        """The transform of (B, C, H, W), as a new tensor; each of the B generators draws for its sample alone."""
        raise NotImplementedError


def seeded_generator(seed: int, device: torch.device | str = 'cpu') -> torch.Generator:
    """A generator with this seed."""
    return torch.Generator(device).manual_seed(seed)


def drawn_generator(source: Any = random) -> torch.Generator:
    """A generator seeded by Python's `random`, or by a `random.Random`."""
    return seeded_generator(source.getrandbits(63))


def sample_generators(generator: torch.Generator, count: int) -> list[torch.Generator]:
    """A generator for each of `count` samples, seeded by `generator`."""
    return [seeded_generator(seed) for seed in torch.randint(2**62, (count,), generator=generator).tolist()]


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """`generator` itself on its own device; elsewhere one that it seeds, for draws too large to be copied there."""
    if generator.device.type == device.type:
        return generator
    return seeded_generator(int(torch.randint(2**62, (), generator=generator)), device)


def drawn(draw: Callable[..., torch.Tensor], generators: Generators, *shape: int) -> torch.Tensor:
    """Numbers of each sample (B, *shape), float64, on the CPU, by `draw` = torch.rand or torch.randn."""
    numbers = [draw(shape, dtype=torch.float64, generator=generator) for generator in generators]
    return torch.stack(numbers) if numbers else torch.empty(0, *shape, dtype=torch.float64)


def uniform(bounds: Range, generators: Generators, *shape: int) -> torch.Tensor:
    """Numbers of each sample (B, *shape), float64, on the CPU, uniform in `bounds`; no draw where both are equal."""
    low, high = bounds
    if low == high:
        return torch.full((len(generators), *shape), low, dtype=torch.float64)
    return low + (high - low) * drawn(torch.rand, generators, *shape)


def pixelwise(draw: Callable[..., torch.Tensor], batch: torch.Tensor, generators: Generators) -> torch.Tensor:
    """Numbers of each pixel, of the shape and on the device of `batch`, at least float32, by torch.rand or randn."""
    dtype = torch.promote_types(batch.dtype, torch.float32)
    result = torch.empty(batch.shape, dtype=dtype, device=batch.device)
    for sample, generator in zip(result, generators, strict=True):
        draw(sample.shape, generator=generator_on(batch.device, generator), out=sample)
    return result


def per_sample(values: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """One value per sample as (B, 1, 1, 1), in the batch's type (at least float32) and on its device."""
    dtype = torch.promote_types(batch.dtype, torch.float32)
    return values.to(batch.device, dtype, non_blocking=True).view(-1, 1, 1, 1)


def number(value: Any, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """An option that is a number.

    Raises:
        UserError: it is none, or leaves [minimum, maximum].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value <= maximum:
        raise UserError(f"{name} is '{value}'; it must be a number{_bounds(minimum, maximum)}.")
    return float(value)


def whole_number(value: Any, name: str, minimum: int = 1, odd: bool = False) -> int:
    """An option that is a whole number.

    Raises:
        UserError: it is none, is below `minimum`, or even where it has to be odd.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum or (odd and value % 2 == 0):
        raise UserError(f"{name} is '{value}'; it must be {'an odd' if odd else 'a whole'} number, {minimum} or more.")
    return value


def number_range(value: Any, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> Range:
    """An option that is a number, or [low, high] to draw from for every sample.

    Raises:
        UserError: it is neither, or leaves [minimum, maximum].
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise UserError(f"{name} is '{value}'; it must be a number or [low, high].")
        low, high = (number(bound, name, minimum, maximum) for bound in value)
        if low > high:
            raise UserError(f"{name} is '{value}'; its first number must not exceed the second.")
        return low, high
    return (number(value, name, minimum, maximum),) * 2


def shown(bounds: Range) -> str:
    """'15', or '5 to 25', for reports."""
    return f'{bounds[0]:g}' if bounds[0] == bounds[1] else f'{bounds[0]:g} to {bounds[1]:g}'


def choice(value: Any, name: str, allowed: Sequence[str]) -> str:
    """An option that is one of some words.

    Raises:
        UserError: it is none of them.
    """
    if value not in allowed:
        raise UserError(f"{name} is '{value}'; it can be {', '.join(allowed)}.")
    return value


def _bounds(minimum: float, maximum: float) -> str:
    if math.isfinite(minimum) and math.isfinite(maximum):
        return f' from {minimum:g} to {maximum:g}'
    return f', {minimum:g} or more' if math.isfinite(minimum) else ''
