"""Steps, pixel shuffle, images as output, local maps: what follows an operator's sums."""
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native import steps
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from basicsr_amsr.execution.transposed import phases
from tests.execution.native.programs import FAST, error, mask_of, numbers, run_operator, some_patches

SIZES = st.tuples(st.integers(1, 15), st.integers(1, 22))
WIDE = torch.linspace(-12, 12, 16 * 60).reshape(16, 6, 10)
ACTIVATIONS = {
    'relu': (steps.relu(), F.relu), 'leaky_relu': (steps.leaky_relu(.2), lambda x: F.leaky_relu(x, .2)),
    'gelu': (steps.gelu(), F.gelu), 'gelu_tanh': (steps.gelu('tanh'), lambda x: F.gelu(x, approximate='tanh')),
    'silu': (steps.silu(), F.silu), 'sigmoid': (steps.sigmoid(), torch.sigmoid), 'tanh': (steps.tanh(), torch.tanh),
    'mish': (steps.mish(), F.mish), 'affine': (steps.affine(.5, -2), lambda x: .5 * x - 2),
    'clamp': (steps.clamp(-1, 3), lambda x: x.clamp(-1, 3)),
}


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations(native, isa, name):
    step, function = ACTIVATIONS[name]
    found = run_operator(native, [WIDE], 16, lambda program, maps, out, listed: program.pointwise(
        maps[0], out, steps=[step], patches=listed))
    wanted = function(WIDE.double())
    assert ((found - wanted).abs() <= 1e-6 + 2e-6 * wanted.abs()).all()


@pytest.mark.parametrize('method', ['direct', 'winograd', 'pointwise'])
@given(SIZES, st.integers(1, 40), st.sampled_from(['float32', 'bfloat16']), st.sampled_from([0., .5, 1.]))
@FAST
def test_steps_in_any_order(native, isa, method, size, channels, dtype, share):
    x, y, z = (numbers(i, channels, *size).to(getattr(torch, dtype)).float() for i in range(3))
    vector, weight, bias = numbers(4, channels), numbers(5, channels, channels, 3, 3), numbers(6, channels)
    patches = some_patches(*size, share, 1)

    def declare(program, maps, out, listed):
        chain = [steps.multiply_vector(vector), steps.add(maps[1], -.5), steps.prelu(vector),
                 steps.multiply(maps[2], .25), steps.silu(), steps.add_vector(vector), steps.affine(2, 1)]
        if method == 'pointwise':
            program.pointwise(maps[0], out, steps=chain, patches=listed)
        else:
            program.conv(maps[0], weight, bias, out, out_channels=channels, method=method, steps=chain, patches=listed)

    found = run_operator(native, [x, y, z], channels, declare, patches=patches, dtype=dtype)
    start = x if method == 'pointwise' else F.conv2d(x[None], weight, bias, padding=1)[0]
    column = vector[:, None, None]
    value = F.prelu((start * column - .5 * y)[None], vector)[0] * (z + .25)
    wanted = (2 * (F.silu(value) + column) + 1) * mask_of(patches, *size)
    assert error(found, wanted) < (1e-4 if dtype == 'float32' else .005)


@given(SIZES, st.integers(1, 40), st.integers(1, 20), st.integers(1, 4), st.sampled_from(['direct', 'winograd']),
       st.sampled_from([1, 2]), st.sampled_from(['float32', 'bfloat16']), st.sampled_from([.4, 1.]))
@FAST
def test_pixel_shuffle_into_a_map(native, isa, size, inputs, outputs, by, method, groups, dtype, share):
    x = numbers(1, inputs * groups, *size).to(getattr(torch, dtype)).float()
    weight, bias = numbers(2, outputs * groups * by * by, inputs, 3, 3), numbers(3, outputs * groups * by * by)
    patches = some_patches(*size, share, 1)

    def declare(program, maps, out, listed):
        program.conv(maps[0], weight, bias, out, out_channels=len(weight), method=method, groups=groups, shuffle=by,
                     steps=[steps.prelu(bias)], patches=listed)

    found = run_operator(native, [x], outputs * groups, declare, patches=patches, dtype=dtype, scale=by)
    wanted = F.prelu(F.conv2d(x[None], weight, bias, padding=1, groups=groups), bias) * mask_of(patches, *size)
    assert error(found, F.pixel_shuffle(wanted, by)[0]) < (1e-4 if dtype == 'float32' else .005)


@given(SIZES, st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.sampled_from(['direct', 'winograd']),
       st.sampled_from(['float32', 'bfloat16']))
@FAST
def test_into_an_image_over_the_enlarged_input(native, isa, size, inputs, outputs, by, method, dtype):
    x = numbers(1, inputs + outputs, *size)
    weight, bias = numbers(2, outputs * by * by, inputs, 3, 3), numbers(3, outputs * by * by)
    program = Program()
    image, result = program.image(inputs + outputs), program.image(outputs, scale=by)
    a = program.map(inputs + outputs, dtype=dtype)
    program.pointwise(image, a)
    program.conv(a[:inputs], weight, bias, result, out_channels=len(weight), method=method, shuffle=by,
                 steps=[steps.add_nearest(a[inputs:], .5)])
    found = torch.full((outputs, size[0] * by, size[1] * by), 3.)
    Runner(program, native).run({image: x, result: found})
    x = x.to(getattr(torch, dtype)).float()
    wanted = F.pixel_shuffle(F.conv2d(x[None, :inputs], weight, bias, padding=1), by)
    wanted = wanted + .5 * F.interpolate(x[None, inputs:], scale_factor=by)
    assert error(found, wanted[0]) < 1e-4


@given(SIZES, st.integers(1, 70), st.sampled_from([1, 2, 3]), st.sampled_from(['float32', 'bfloat16']),
       st.sampled_from([0., .4, 1.]), st.integers(0, 3))
@FAST
def test_local_maps(native, isa, size, channels, by, dtype, share, threads):
    """3x3 with shuffle into a local map, 1x1 of it into a range of a map at the larger scale."""
    x = numbers(1, 8, *size).to(getattr(torch, dtype)).float()
    first, second = numbers(2, channels * by * by, 8, 3, 3), numbers(3, 5, channels, 1, 1)
    patches = some_patches(*size, share, 2)
    program = Program()
    image, result = program.image(8), program.image(5, scale=by)
    a, b = program.map(8, dtype=dtype), program.map(9, scale=by, dtype=dtype)
    listed = program.patches()
    program.pointwise(image, a)
    with program.fused(listed):
        inside = program.local(channels, scale=by, dtype=dtype)
        program.conv(a, first, None, inside, out_channels=len(first), shuffle=by, steps=[steps.relu()])
        program.conv(inside, second, None, b[2:7], out_channels=5, kernel=1)
    program.pointwise(b[2:7], result)
    found = torch.zeros(5, size[0] * by, size[1] * by)
    Runner(program, native, threads + 1).run({image: x, result: found}, {listed: patches})
    inner = F.pixel_shuffle(F.conv2d(x[None], first, padding=1).relu() * mask_of(patches, *size), by)
    assert error(found, F.conv2d(inner, second)[0]) < (1e-5 if dtype == 'float32' else .01)


@pytest.mark.parametrize(('kernel', 'stride'), [(9, 4), (9, 3), (9, 2), (4, 2), (3, 2), (6, 3)])
def test_transposed_convolution(native, kernel, stride):
    padding = max(0, (kernel - stride + 1) // 2)
    x, weight, bias = numbers(1, 6, 7, 9), numbers(2, 6, 2, kernel, kernel), numbers(3, 2)
    wanted = F.conv_transpose2d(x[None], weight, bias, stride, padding, stride + 2 * padding - kernel)[0]
    rewritten, before, _ = phases(weight, stride, padding)
    program = Program()
    image, result, a = program.image(6), program.image(2, scale=stride), program.map(6)
    program.pointwise(image, a)
    program.conv(a, rewritten, bias.repeat_interleave(stride ** 2), result, out_channels=len(rewritten),
                 kernel=rewritten.shape[-1], padding=before, shuffle=stride)
    found = torch.zeros_like(wanted)
    Runner(program, native).run({image: x, result: found})
    assert error(found, wanted) < 1e-5
