"""Convolutions against torch in double precision: any size, channels, groups, list, precision, instruction set."""
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native import steps
from tests.execution.native.programs import FAST, error, mask_of, numbers, rounded, run_operator, some_patches

SIZES = st.tuples(st.integers(1, 21), st.integers(1, 37))
CHANNELS = st.one_of(st.integers(1, 20), st.sampled_from([25, 31, 32, 33, 48, 50, 64, 65, 80]))
SHARES = st.sampled_from([0., .3, .7, 1.])
METHODS = st.sampled_from(['direct', 'winograd', 'winograd6'])
WINOGRAD = st.sampled_from(['winograd', 'winograd6'])
BF16 = 2 ** -8  # half the distance of neighbours, relative


def convolve(native, x, weight, bias, *, groups=1, stride=1, padding=None, share=1., method='direct', maps='float32',
             compute='float32', in_order=False, **options):
    """(what native kernels make of it, what they should, the mask of listed pixels)."""
    kernel = weight.shape[-1]
    padding = kernel // 2 if padding is None else padding
    x, exact = rounded(x, maps), rounded(weight, compute if native.has_bf16 and method == 'direct' else 'float32')
    if compute == 'bfloat16' and native.has_bf16:
        x = rounded(x, 'bfloat16')
    wanted = F.conv2d(x[None].double(), exact.double(), bias.double(), stride, padding, 1, groups)[0]
    height, width = wanted.shape[-2:]
    edge = 6 if method == 'winograd6' else 4
    patches = some_patches(height, width, share, 5, edge, in_order)
    mask = mask_of(patches, height, width, edge)

    def declare(program, inputs, out, listed):
        program.conv(inputs[0], weight, bias, out, out_channels=len(weight), kernel=kernel, stride=stride,
                     groups=groups, padding=padding, method=method, compute=compute, patches=listed, **options)

    size = (lambda h, w: (height, width)) if (height, width) != tuple(x.shape[-2:]) else None
    found = run_operator(native, [x], len(weight), declare, patches=patches, dtype=maps, size=size, edge=edge)
    return found, wanted, mask


@given(SIZES, CHANNELS, CHANNELS, st.sampled_from([1, 3, 5, 9]), SHARES, st.integers(0, 99))
@FAST
def test_direct(native, isa, size, inputs, outputs, kernel, share, seed):
    x, weight = numbers(seed, inputs, *size), numbers(seed + 1, outputs, inputs, kernel, kernel)
    bias = numbers(seed + 2, outputs)
    found, wanted, mask = convolve(native, x, weight, bias, share=share)
    assert error(found, wanted * mask) < 1e-5
    assert not found[:, ~mask].any()


@given(SIZES, CHANNELS, CHANNELS, SHARES, st.integers(0, 99), WINOGRAD, st.integers(0, 2))
@FAST
def test_winograd(native, isa, size, inputs, outputs, share, seed, method, padding):
    height, width = (side + 2 * (1 - min(padding, 1)) for side in size)  # some pixel comes out
    x, weight = numbers(seed, inputs, height, width), numbers(seed + 1, outputs, inputs, 3, 3)
    bias = numbers(seed, outputs)
    found, wanted, mask = convolve(native, x, weight, bias, share=share, method=method, padding=padding)
    assert error(found, wanted * mask) < 1e-4
    assert not found[:, ~mask].any()


@given(SIZES, st.integers(1, 5), st.integers(1, 20), st.integers(1, 20), METHODS, SHARES)
@FAST
def test_groups(native, isa, size, groups, inputs, outputs, method, share):
    x, bias = numbers(1, groups * inputs, *size), numbers(2, groups * outputs)
    weight = numbers(3, groups * outputs, inputs, 3, 3)
    found, wanted, mask = convolve(native, x, weight, bias, groups=groups, share=share, method=method)
    assert error(found, wanted * mask) < (1e-5 if method == 'direct' else 1e-4)


@given(SIZES, CHANNELS, CHANNELS, st.sampled_from([1, 1, 2, 4]), st.sampled_from([1, 3, 5]), SHARES, st.booleans(),
       st.sampled_from([('bfloat16', 'bfloat16'), ('bfloat16', 'float32'), ('float32', 'bfloat16')]))
@FAST
def test_direct_in_bf16(native, isa, size, inputs, outputs, groups, kernel, share, in_order, types):
    x, bias = numbers(1, groups * inputs, *size), numbers(3, groups * outputs)
    weight = numbers(2, groups * outputs, inputs, kernel, kernel)
    found, wanted, mask = convolve(native, x, weight, bias, groups=groups, share=share, maps=types[0], compute=types[1],
                                   in_order=in_order)
    allowed = BF16 * wanted.abs() * (types[0] == 'bfloat16') + 2e-5 * wanted.abs().max()  # rounding of the result, sums
    assert ((found - wanted * mask).abs() <= allowed).all()


@given(SIZES, CHANNELS, CHANNELS, SHARES)
@FAST
def test_winograd_in_bf16(native, isa, size, inputs, outputs, share):
    x, weight, bias = numbers(1, inputs, *size), numbers(2, outputs, inputs, 3, 3), numbers(3, outputs)
    found, wanted, mask = convolve(native, x, weight, bias, share=share, method='winograd', maps='bfloat16',
                                   compute='bfloat16')
    wanted = wanted * mask
    noise = (found - wanted).square().mean().sqrt() / (9 * inputs + 1) ** .5  # relative to a typical value
    assert noise < .015


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), CHANNELS, CHANNELS, st.sampled_from([1, 2, 3, 5]),
       st.integers(2, 4), st.integers(0, 2), SHARES)
@FAST
def test_strides(native, isa, size, inputs, outputs, kernel, stride, padding, share):
    padding = min(padding, kernel - 1)
    if min(size) + 2 * padding < kernel:
        return
    x, weight, bias = numbers(1, inputs, *size), numbers(2, outputs, inputs, kernel, kernel), numbers(3, outputs)
    found, wanted, mask = convolve(native, x, weight, bias, stride=stride, padding=padding, share=share)
    assert error(found, wanted * mask) < 1e-5


@given(SIZES, st.lists(CHANNELS, min_size=1, max_size=4), CHANNELS, st.sampled_from(['direct', 'winograd']),
       st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_several_sources_are_a_concatenation(native, isa, size, parts, outputs, method, dtype):
    inputs = [rounded(numbers(i, part, *size), dtype) for i, part in enumerate(parts)]
    weight, bias = rounded(numbers(8, outputs, sum(parts), 3, 3), dtype), numbers(9, outputs)
    wanted = F.conv2d(torch.cat(inputs)[None].double(), weight.double(), bias.double(), padding=1)[0]

    def declare(program, maps, out, listed):
        program.conv(maps, weight, bias, out, out_channels=outputs, method=method, compute=dtype, patches=listed)

    found = run_operator(native, inputs, outputs, declare, dtype=dtype)
    bound = 1e-4 if dtype == 'float32' else .005 if method == 'direct' else .03
    assert error(found, wanted) < bound


@given(SIZES, st.integers(0, 30), st.integers(1, 40), st.integers(0, 30), st.integers(0, 30), st.integers(1, 40),
       st.integers(0, 30), METHODS, st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_ranges_of_channels_leave_their_neighbours(native, isa, size, before, inputs, behind, low, outputs, high,
                                                   method, dtype):
    x = rounded(numbers(1, before + inputs + behind, *size), dtype)
    weight, bias = rounded(numbers(2, outputs, inputs, 3, 3), dtype), numbers(3, outputs)
    wanted = F.conv2d(x[None, before:before + inputs].double(), weight.double(), bias.double(), padding=1)[0]
    other = rounded(numbers(4, low + outputs + high, *size), dtype)

    def declare(program, maps, out, listed):
        program.pointwise(maps[1], out)
        program.conv(maps[0][before:before + inputs], weight, bias, out[low:low + outputs], out_channels=outputs,
                     method=method, compute='float32' if method == 'winograd6' else dtype, patches=listed)

    found = run_operator(native, [x, other], low + outputs + high, declare, dtype=dtype,
                         edge=6 if method == 'winograd6' else 4)
    bound = 1e-4 if dtype == 'float32' else .005 if method == 'direct' else .03
    assert error(found[low:low + outputs], wanted) < bound
    assert torch.equal(found[:low], other[:low]) and torch.equal(found[low + outputs:], other[low + outputs:])


@given(SIZES, CHANNELS, st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2]), SHARES,
       st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_depthwise(native, isa, size, channels, kernel, stride, share, dtype):
    x = rounded(numbers(1, channels, *size), dtype)
    weight, bias = numbers(2, channels, 1, kernel, kernel), numbers(3, channels)
    wanted = F.conv2d(x[None].double(), weight.double(), bias.double(), stride, kernel // 2, 1, channels)[0]
    height, width = wanted.shape[-2:]
    patches = some_patches(height, width, share, 1)
    mask = mask_of(patches, height, width)

    def declare(program, maps, out, listed):
        program.depthwise(maps[0], weight, bias, out, kernel=kernel, stride=stride, patches=listed)

    found = run_operator(native, [x], channels, declare, patches=patches, dtype=dtype,
                         size=(lambda h, w: (height, width)) if stride > 1 else None)
    assert error(found, wanted * mask) < (1e-5 if dtype == 'float32' else BF16)


@pytest.mark.parametrize('method', ['direct', 'winograd'])
def test_weights_are_read_anew(native, method):
    weight, bias = numbers(1, 8, 8, 3, 3), numbers(2, 8)
    from basicsr_amsr.execution.native.program import Program
    from basicsr_amsr.execution.native.runner import Runner
    program = Program()
    image, result, a, b = program.image(8), program.image(8), program.map(8), program.map(8)
    program.pointwise(image, a)
    program.conv(a, lambda: weight, bias, b, out_channels=8, method=method, steps=[steps.prelu(lambda: bias)])
    program.pointwise(b, result)
    runner, x, found = Runner(program, native), numbers(3, 8, 9, 9), torch.zeros(8, 9, 9)
    for _ in range(2):
        weight += 1
        bias *= 2
        runner.pack()
        runner.run({image: x, result: found})
        wanted = F.prelu(F.conv2d(x[None], weight, bias, padding=1), bias)[0]
        assert error(found, wanted) < 1e-4
