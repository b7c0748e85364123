"""Several maps of one size in one call: what each gives by itself, whatever the operators."""
from __future__ import annotations

import numpy as np
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


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(1, 9), st.sampled_from([1, 3, 20]), st.data())
@FAST
def test_images_within_larger_ones_in_their_places(native, isa, size, number, channels, data):
    program, image, result = declare(channels)
    (height, width), places = size, st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 6))
    x = numbers(0, 2, channels, height + 5, width + 6)  # they may overlap in what is read
    at = data.draw(st.lists(places, min_size=number, max_size=number))
    room = torch.full((1, 3, 2 * height + 3, number * 2 * width + 5), 7.)
    sources = np.array([image * x.stride(0) + row * x.stride(2) + col for image, row, col in at], np.int64)
    targets = np.array([room.stride(2) + 3 + 2 * width * each for each in range(number)], np.int64)
    runner = Runner(program, native, 2, most=9)
    runner.run({image: x, result: room}, size=size, origins={image: sources, result: targets})
    for each, (one, row, col) in enumerate(at):
        own = x[one, :, row:row + height, col:col + width].contiguous()
        wanted = torch.full((3, 2 * height, 2 * width), 7.)
        Runner(program, native, 1).run({image: own, result: wanted})
        left = 3 + 2 * width * each
        found = room[0, :, 1:1 + 2 * height, left:left + 2 * width]
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
        found[:] = 7
    assert (room == 7).all()  # nothing else was written
    runner.run({image: x[:1, :, :height, :width], result: room[..., :2 * height, :2 * width]})
    assert not (room[..., :2 * height, :2 * width] == 7).all()  # the origins are gone


@pytest.mark.parametrize('origins', [
    np.array([0, 18], np.int64), np.array([-1], np.int64), np.array([0], np.int32),
    np.array([0, 1, 2, 3], np.int64)[::2]])
def test_origins_outside_the_tensor(native, origins):
    p = Program()
    image, result = p.image(3), p.image(3)
    p.pointwise(image, result)
    x = torch.zeros(3, 6, 7)
    runner = Runner(p, native, 1, most=4)
    with pytest.raises(ValueError, match='around its origins'):
        runner.run({image: x, result: torch.zeros(len(origins), 3, 4, 5)}, size=(4, 5), origins={image: origins})
    with pytest.raises(ValueError, match='around its origins'):
        runner.run({image: x.transpose(1, 2), result: torch.zeros(1, 3, 4, 5)}, size=(4, 5),
                   origins={image: np.zeros(1, np.int64)})


def test_winograd6_wants_lists_of_its_own(native):
    p = Program()
    a, b = p.map(16), p.map(16)
    with pytest.raises(ValueError, match='its list has 4'):
        p.conv(a, numbers(0, 16, 16, 3, 3), None, b, out_channels=16, method='winograd6')
