"""Averages over the image, resizing, pooling, channel attention."""
from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native import steps
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from tests.execution.native.programs import FAST, error, mask_of, numbers, run_operator, some_patches

SIZES = st.tuples(st.integers(1, 21), st.integers(1, 30))


@given(SIZES, st.integers(1, 70), st.sampled_from(['float32', 'bfloat16']), st.sampled_from([0., .5, 1.]))
@FAST
def test_channel_attention(native, isa, size, channels, dtype, share):
    """x * sigmoid(conv(relu(conv(mean of x's listed pixels)))), as RCAN's blocks have it."""
    x = numbers(1, channels, *size).to(getattr(torch, dtype)).float()
    down, up, bias = numbers(2, 4, channels, 1, 1), numbers(3, channels, 4, 1, 1), numbers(4, channels)
    patches = some_patches(*size, share, 3)
    program = Program()
    image, result, means = program.image(channels), program.image(channels), program.image(channels, grid=None)
    a, b, listed = program.map(channels, dtype=dtype), program.map(channels, dtype=dtype), program.patches()
    one = program.grid(lambda height, width: (1, 1))
    mean, inner, factor = (program.map(n, grid=one) for n in (channels, 4, channels))
    program.pointwise(image, a)
    program.mean(a, mean, patches=listed)
    program.conv(mean, down, None, inner, out_channels=4, kernel=1, steps=[steps.relu()])
    program.conv(inner, up, bias, factor, out_channels=channels, kernel=1, steps=[steps.sigmoid()])
    program.pointwise(a, b, steps=[steps.multiply_image(factor)])
    program.pointwise(b, result)
    program.pointwise(a, means)
    found = torch.zeros(channels, *size)
    for threads in (1, 2, 3):  # the same to the last bit
        again = torch.zeros(channels, *size)
        Runner(program, native, threads).run({image: x, result: again, means: torch.zeros(channels, *size)},
                                             {listed: patches})
        assert threads == 1 or torch.equal(found, again)
        found = again
    pooled = (x * mask_of(patches, *size)).double().mean((1, 2))[None, :, None, None]
    wanted = x * torch.sigmoid(F.conv2d(F.conv2d(pooled, down.double()).relu(), up.double(), bias.double()))[0]
    assert error(found, wanted) < (1e-5 if dtype == 'float32' else .005)


@given(SIZES, st.integers(1, 40), st.integers(2, 4), st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_mean_of_a_map_of_more_pixels(native, isa, size, channels, scale, dtype):
    x = numbers(1, channels, *(side * scale for side in size)).to(getattr(torch, dtype)).float()
    program = Program()
    one = program.grid(lambda height, width: (1, 1))
    image, result = program.image(channels, scale=scale), program.image(channels, grid=one)
    large, mean = program.map(channels, scale=scale, dtype=dtype), program.map(channels, grid=one)
    program.pointwise(image, large)
    program.mean(large, mean)
    program.pointwise(mean, result)
    found = torch.zeros(channels, 1, 1)
    Runner(program, native, 2).run({image: x, result: found})
    assert (found[:, 0, 0] - x.double().mean((1, 2))).abs().max() < 1e-5 * x.abs().max()


@given(SIZES, SIZES, st.integers(1, 40), st.sampled_from(['bilinear', 'nearest']),
       st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_resize(native, isa, size, to, channels, mode, dtype):
    x = numbers(1, channels, *size).to(getattr(torch, dtype)).float()
    found = run_operator(native, [x], channels, lambda program, maps, out, listed: program.resample(
        maps[0], out, mode=mode, patches=listed), dtype=dtype, size=lambda height, width: to)
    if mode == 'nearest':
        wanted = F.interpolate(x[None], size=to, mode=mode)[0]
    else:
        wanted = F.interpolate(x[None], size=to, mode=mode, align_corners=False)[0]
    assert error(found, wanted) < (1e-5 if dtype == 'float32' else .005)


@given(SIZES, st.integers(1, 40), st.integers(1, 7), st.integers(1, 3), st.integers(0, 3),
       st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_max_pool(native, isa, size, channels, kernel, stride, padding, dtype):
    padding = min(padding, kernel // 2)
    if min(size) + 2 * padding < kernel:
        return
    x = numbers(1, channels, *size).to(getattr(torch, dtype)).float()
    wanted = F.max_pool2d(x[None], kernel, stride, padding)[0]
    found = run_operator(native, [x], channels, lambda program, maps, out, listed: program.max_pool(
        maps[0], out, kernel=kernel, stride=stride, padding=padding, patches=listed), dtype=dtype,
        size=lambda height, width: tuple(wanted.shape[-2:]))
    assert torch.equal(found, wanted)


@given(SIZES, SIZES, st.integers(1, 40), st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_adaptive_max_pool(native, isa, size, to, channels, dtype):
    x = numbers(1, channels, *size).to(getattr(torch, dtype)).float()
    found = run_operator(native, [x], channels, lambda program, maps, out, listed: program.adaptive_max_pool(
        maps[0], out, patches=listed), dtype=dtype, size=lambda height, width: to)
    assert torch.equal(found, F.adaptive_max_pool2d(x[None], to)[0])
