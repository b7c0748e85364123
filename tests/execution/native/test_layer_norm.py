"""Layer normalisation over channels, beside torch's in double precision."""
from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native import steps
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from tests.execution.native.programs import (
    FAST,
    channels_from,
    error,
    mask_of,
    numbers,
    rounded,
    run_operator,
    some_patches,
)

SIZES = st.tuples(st.integers(1, 15), st.integers(1, 22))


def normed(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float) -> torch.Tensor:
    """(C, H, W) normalised over C, in double precision."""
    held = [None if each is None else each.double() for each in (weight, bias)]
    return F.layer_norm(x.double().permute(1, 2, 0), x.shape[:1], *held, eps).permute(2, 0, 1)


@given(SIZES, st.integers(1, 70), st.integers(0, 20), st.sampled_from(['float32', 'bfloat16']),
       st.sampled_from([0., .5, 1.]), st.sampled_from([1e-6, 1e-2]), st.booleans())
@FAST
def test_is_that_of_torch(native, isa, size, channels, first, dtype, share, eps, scaled):
    """Of a range of a map's channels; the others are so large that one of them in a sum would show."""
    x = 2 + numbers(1, channels, *size)
    whole = rounded(torch.cat([1e4 + numbers(2, first, *size), x, 1e4 + numbers(3, 5, *size)]), dtype)
    weight, bias = numbers(4, channels), numbers(5, channels)
    patches = some_patches(*size, share, 1)
    behind = [steps.multiply_vector(weight), steps.add_vector(bias)] if scaled else []
    found = run_operator(native, [whole], channels, lambda program, maps, out, listed: program.layer_norm(
        channels_from(maps[0], first, channels), out, eps=eps, steps=[*behind, steps.gelu()], patches=listed),
        patches=patches, dtype=dtype)
    wanted = normed(whole[first:first + channels], *((weight, bias) if scaled else (None, None)), eps)
    assert error(found, F.gelu(wanted) * mask_of(patches, *size)) < (2e-5 if dtype == 'float32' else .005)


@given(st.integers(1, 40), st.sampled_from([0., 1., -3e3]), st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_equal_channels_are_zero(native, isa, channels, value, dtype):
    x = rounded(torch.full((channels, 5, 6), value), dtype)
    found = run_operator(native, [x], channels, lambda program, maps, out, listed: program.layer_norm(
        maps[0], out, eps=1e-6, patches=listed), dtype=dtype)
    assert found.abs().max() <= abs(value) * 1e-3


@given(st.integers(1, 40))
@FAST
def test_a_large_average_costs_no_digits(native, isa, channels):
    """What would be lost in the difference of E[x²] and E[x]²."""
    x = (1000 + numbers(1, channels, 6, 7)).float()
    found = run_operator(native, [x], channels, lambda program, maps, out, listed: program.layer_norm(
        maps[0], out, eps=1e-6, patches=listed))
    wanted = normed(x, None, None, 1e-6)
    by_torch = F.layer_norm(x.permute(1, 2, 0), x.shape[:1], eps=1e-6).permute(2, 0, 1)
    assert error(found, wanted) <= 2 * error(by_torch, wanted) + 1e-3


@given(SIZES, st.integers(1, 40))
@FAST
def test_between_convolutions_of_a_group(native, isa, size, channels):
    """Local maps before and behind it, at twice the image's scale."""
    x, first = numbers(1, 6, *size), numbers(2, channels * 4, 6, 3, 3)
    second = numbers(3, 7, channels, 1, 1)
    program = Program()
    image, result = program.image(6), program.image(7, scale=2)
    a, b = program.map(6), program.map(7, scale=2)
    program.pointwise(image, a)
    with program.fused():
        before, behind = (program.local(channels, scale=2) for _ in range(2))
        program.conv(a, first, None, before, out_channels=len(first), shuffle=2)
        program.layer_norm(before, behind, eps=1e-3)
        program.conv(behind, second, None, b, out_channels=7, kernel=1)
    program.pointwise(b, result)
    found = torch.zeros(7, size[0] * 2, size[1] * 2)
    Runner(program, native, 2).run({image: x, result: found})
    inner = normed(F.pixel_shuffle(F.conv2d(x[None], first, padding=1), 2)[0], None, None, 1e-3)
    assert error(found, F.conv2d(inner[None], second.double())[0]) < 1e-4
