"""What the tests of native kernels share: one operator as a program, lists, and torch's answer in double precision."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from hypothesis import HealthCheck, settings

from basicsr_amsr.execution.native.library import Library
from basicsr_amsr.execution.native.maps import Channels, Map, Patches
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner, every_patch

EXAMPLES = int(os.environ.get('BASICSR_AMSR_EXAMPLES', '25'))  # fewer under sanitizers
FAST = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
Declare = Callable[[Program, Sequence[Map], Map, Patches], None]


def numbers(seed: int, *shape: int) -> torch.Tensor:
    """Normal numbers that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_patches(height: int, width: int, share: float, seed: int, edge: int = 4,
                 in_order: bool = False) -> np.ndarray:
    """About that share of all patches, row by row or shuffled; none for 0 and all for 1."""
    everything = every_patch(height, width, edge)
    generator = np.random.default_rng(seed)
    chosen = everything[generator.random(len(everything)) < share]
    return np.ascontiguousarray(chosen if in_order else generator.permutation(chosen))


def mask_of(patches: np.ndarray, height: int, width: int, edge: int = 4) -> torch.Tensor:
    """The pixels of the listed patches: (height, width), bool."""
    mask = torch.zeros(-(-height // edge), -(-width // edge), dtype=torch.bool)
    mask[torch.from_numpy(patches[:, 0].astype(np.int64)), torch.from_numpy(patches[:, 1].astype(np.int64))] = True
    return mask.repeat_interleave(edge, 0).repeat_interleave(edge, 1)[:height, :width]


def run_operator(native: Library, inputs: Sequence[torch.Tensor], channels: int, declare: Declare, *,
                 patches: np.ndarray | None = None, dtype: str = 'float32', scale: int = 1, threads: int = 2,
                 size: Callable[[int, int], tuple[int, int]] | None = None, edge: int = 4) -> torch.Tensor:
    """The output map of an operator whose input maps hold `inputs` (C, H, W); it is zero where nothing was written."""
    program = Program()
    images = [program.image(one.shape[0]) for one in inputs]
    maps = [program.map(one.shape[0], dtype=dtype) for one in inputs]
    for image, one in zip(images, maps, strict=True):
        program.pointwise(image, one)
    grid = program.grid(size) if size else None
    listed = program.patches(grid, edge)
    out = program.map(channels, dtype=dtype, scale=scale, grid=grid)
    result = program.image(channels, scale=scale, grid=grid)
    declare(program, maps, out, listed)
    program.pointwise(out, result)
    height, width = inputs[0].shape[-2:]
    out_height, out_width = size(height, width) if size else (height, width)
    tensor = torch.full((channels, out_height * scale, out_width * scale), 7.)
    tensors = dict(zip(images, inputs, strict=True)) | {result: tensor}
    Runner(program, native, threads).run(tensors, {} if patches is None else {listed: patches})
    return tensor


def rounded(tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    """A tensor as a map of that type holds it."""
    return tensor.to(getattr(torch, dtype)).float()


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    if not wanted.numel():
        return 0.
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-3))


def channels_from(one: Map, first: int, count: int) -> Channels:
    """A range of channels, or the map itself where that is all of them."""
    return one if (first, count) == (0, one.channels) else one[first:first + count]
