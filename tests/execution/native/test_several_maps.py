"""Several maps of one size in one call: what each gives by itself, whatever the operators."""
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr.execution.native import steps
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from tests.execution.native.programs import FAST, numbers


def declare(channels: int) -> tuple[Program, object, object]:
    """A program with every operator that one image can have: convolutions of each form, whole maps, averages."""
    p = Program()
    image, result = p.image(channels), p.image(3, scale=2)
    small, pixel = p.grid(lambda h, w: ((h + 1) // 2, (w + 1) // 2)), p.grid(lambda h, w: (1, 1))
    six = p.patches(edge=6)
    a, (b, c, d, wide) = p.map(channels), (p.map(24) for _ in range(4))
    low, pooled, mean, factor = (p.map(24, grid=grid) for grid in (small, small, pixel, pixel))
    big = p.local(24, scale=2)
    blocks = p.blocks(2)
    p.pointwise(image, a)
    p.conv(a, numbers(1, 24, channels, 3, 3), numbers(2, 24), b, out_channels=24)
    p.conv(b, numbers(3, 24, 24, 3, 3), None, c, out_channels=24, method='winograd', steps=[steps.add(b)])
    p.conv(c, numbers(4, 24, 24, 3, 3), None, d, out_channels=24, method='winograd6', patches=six,
           steps=[steps.relu(), steps.add(b)])
    p.depthwise(d, numbers(5, 24, 1, 3, 3), None, wide)
    p.conv(wide, numbers(6, 24, 24, 3, 3), None, low, out_channels=24, stride=2)
    p.max_pool(low, pooled, kernel=3, stride=1, padding=1)
    p.resample(pooled, b, steps=[steps.add(d)])
    p.mean(b, mean)
    p.conv(mean, numbers(7, 24, 24, 1, 1), None, factor, out_channels=24, kernel=1, steps=[steps.sigmoid()])
    p.pointwise(b, c, steps=[steps.multiply_image(factor)])
    with p.fused():
        p.conv(c, numbers(8, 96, 24, 3, 3), numbers(9, 96), big, out_channels=96, shuffle=2)
        p.scatter(big, numbers(10, 3, 24, 3, 3), blocks, outputs=3)
    p.gather(blocks, result)
    return p, image, result


@given(st.tuples(st.integers(1, 13), st.integers(1, 13)), st.integers(1, 9), st.sampled_from([1, 3, 20]))
@FAST
def test_several_are_each_by_itself(native, isa, size, number, channels):
    program, image, result = declare(channels)
    x = numbers(0, number, channels, *size)
    found = torch.full((number, 3, 2 * size[0], 2 * size[1]), 7.)
    runner = Runner(program, native, 2, most=9)
    runner.run({image: x, result: found})
    for one, own in zip(x, found, strict=True):
        wanted = torch.full_like(own, 7.)
        Runner(program, native, 1).run({image: one, result: wanted})
        torch.testing.assert_close(own, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    fewer = torch.full_like(found[:1], 7.)
    runner.run({image: x[:1], result: fewer})  # what the others left does not show
    torch.testing.assert_close(fewer, found[:1], rtol=1e-5, atol=1e-5 * float(found.abs().max()))


def test_too_many_and_uneven(native):
    program, image, result = declare(3)
    runner = Runner(program, native, 1, most=2)
    with pytest.raises(ValueError, match='2 at most'):
        runner.run({image: numbers(0, 3, 3, 4, 4), result: torch.empty(3, 3, 8, 8)})
    with pytest.raises(ValueError, match='as many of each map'):
        runner.run({image: numbers(0, 2, 3, 4, 4), result: torch.empty(1, 3, 8, 8)})


def test_winograd6_wants_lists_of_its_own(native):
    p = Program()
    a, b = p.map(16), p.map(16)
    with pytest.raises(ValueError, match='its list has 4'):
        p.conv(a, numbers(0, 16, 16, 3, 3), None, b, out_channels=16, method='winograd6')
