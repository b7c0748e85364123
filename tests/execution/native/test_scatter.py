"""A convolution with few outputs in two steps is that convolution, on whole maps and on lists."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native import steps
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from tests.execution.native.programs import FAST, error, mask_of, numbers, rounded, some_patches


def enlarged(channels: int, scale: int) -> torch.Tensor:
    """Weights (channels · scale², channels, 3, 3) of a convolution before a pixel shuffle."""
    return numbers(3, channels * scale ** 2, channels, 3, 3) / (9 * channels) ** .5


@given(size=st.tuples(st.integers(1, 23), st.integers(1, 23)), channels=st.sampled_from([1, 7, 16, 33]),
       outputs=st.integers(1, 4), scale=st.integers(1, 4), dtype=st.sampled_from(['float32', 'bfloat16']),
       wavefront=st.booleans())
@FAST
def test_is_the_convolution(native, isa, size, channels, outputs, scale, dtype, wavefront):
    x = rounded(numbers(1, channels, *size), dtype)
    first = rounded(enlarged(channels, scale), dtype)
    last, bias = rounded(numbers(2, outputs, channels, 3, 3) / (9 * channels) ** .5, dtype), numbers(4, outputs)
    program = Program()
    image, result = program.image(channels), program.image(outputs, scale=scale)
    features = program.map(channels, dtype=dtype)
    large, blocks = program.local(channels, scale=scale), program.blocks(scale)
    program.pointwise(image, features)

    def declare() -> None:
        with program.fused():
            program.conv(features, first, None, large, out_channels=channels * scale ** 2, shuffle=scale,
                         compute=dtype, steps=[steps.relu()])
            program.scatter(large, last, blocks, outputs=outputs)
        program.gather(blocks, result, steps=[steps.add_vector(bias), steps.leaky_relu(.5)])
    if wavefront:
        with program.stage():
            declare()
    else:
        declare()
    found = torch.full((outputs, size[0] * scale, size[1] * scale), 7.)
    Runner(program, native, 2, chunk=2).run({image: x, result: found})
    wanted = F.relu(F.pixel_shuffle(F.conv2d(x[None], first, padding=1), scale))
    wanted = F.leaky_relu(F.conv2d(wanted, last, bias, padding=1), .5)
    assert error(found, wanted[0]) < 1e-5


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), share=st.sampled_from([0., .2, .6, 1.]),
       scale=st.integers(1, 3), seed=st.integers(0, 3))
@FAST
def test_lists_with_neighbours_from_another_map(native, size, share, scale, seed):
    """Active patches from one map, what surrounds them from another, as predictions are."""
    height, width = size
    x, others = numbers(seed, 8, height * scale, width * scale), numbers(seed + 1, 8, height * scale, width * scale)
    last = numbers(2, 3, 8, 3, 3) / 9
    active = some_patches(*size, share, seed)
    mask = mask_of(active, *size)
    near = F.max_pool2d(F.pad(mask[None].float(), (0, -width % 4, 0, -height % 4)), 4)
    ring = F.max_pool2d(near, 3, 1, 1) - near
    band = np.ascontiguousarray(np.argwhere(ring[0].numpy() > 0).astype(np.int16))
    program = Program()
    images, result = [program.image(8, scale=scale) for _ in range(2)], program.image(3, scale=scale)
    maps, blocks = [program.map(8, scale=scale) for _ in range(2)], program.blocks(scale)
    lists = [program.patches() for _ in range(2)]
    for image, one, listed in zip(images, maps, lists, strict=True):
        program.pointwise(image, one)
        with program.fused(listed):
            program.scatter(one, last, blocks, outputs=3)
    program.gather(blocks, result, patches=lists[0])
    found = torch.full((3, height * scale, width * scale), 7.)
    runner = Runner(program, native, 2)
    mask = mask.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    wanted = F.conv2d(torch.where(mask, x, others)[None], last, padding=1)[0]
    wanted = torch.where(mask, wanted, torch.tensor(7.))
    for _ in range(2):  # rings are added once each time
        runner.run({images[0]: x, images[1]: others, result: found}, dict(zip(lists, (active, band), strict=True)))
        assert error(found, wanted) < 1e-5


def test_refuses_blocks_of_another_scale(native):
    program = Program()
    blocks, two = program.blocks(2), program.image(3, scale=3)
    with pytest.raises(ValueError, match='blocks at scale 3'):
        program.gather(blocks, two)
    with pytest.raises(ValueError, match='5 outputs'):
        program.gather(blocks, program.image(5, scale=2))
    local = program.map(8, scale=2)
    with pytest.raises(ValueError, match='within fused'):
        program.scatter(local, numbers(1, 3, 8, 3, 3), blocks, outputs=3)
