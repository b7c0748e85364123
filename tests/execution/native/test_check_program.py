"""What would read or write where nothing is, is refused before it is run."""
from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch

from basicsr_amsr.execution.native import build, steps
from basicsr_amsr.execution.native.library import Library
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner


def weight(outputs: int, inputs: int, kernel: int = 3) -> torch.Tensor:
    return torch.zeros(outputs, inputs, kernel, kernel)


WRONG = {
    'another program': lambda p, a, b: p.conv(Program().map(8), weight(8, 8), None, b, out_channels=8),
    'channels': lambda p, a, b: p.conv(a, weight(9, 8), None, b, out_channels=9),
    'groups': lambda p, a, b: p.conv(a, weight(8, 8), None, b, out_channels=8, groups=3),
    'groups of several sources': lambda p, a, b: p.conv([a, a], weight(8, 8), None, b, out_channels=8, groups=2),
    'no sources': lambda p, a, b: p.conv([], weight(8, 8), None, b, out_channels=8),
    'shuffle': lambda p, a, b: p.conv(a, weight(8, 8), None, b, out_channels=8, shuffle=2),
    'Winograd of 5x5': lambda p, a, b: p.conv(a, weight(8, 8, 5), None, b, out_channels=8, kernel=5, method='winograd'),
    'in place': lambda p, a, b: p.conv(a, weight(8, 8), None, a, out_channels=8),
    'in shared memory': lambda p, a, b: p.conv(a, weight(8, 8), None, p.map(8, share=a), out_channels=8),
    'shared memory of another kind': lambda p, a, b: p.map(8, share=a, dtype='bfloat16'),
    'resolution': lambda p, a, b: p.conv(a, weight(8, 8), None, p.map(8, scale=2), out_channels=8),
    'resolution of a step': lambda p, a, b: p.pointwise(a, b, steps=[steps.add(p.map(8, scale=2))]),
    'channels of a step': lambda p, a, b: p.pointwise(a, b, steps=[steps.add(p.map(9))]),
    'an image as source': lambda p, a, b: p.conv(p.image(8), weight(8, 8), None, b, out_channels=8),
    'a local map outside a group': lambda p, a, b: p.pointwise(a, p.local(8)),
    'range': lambda p, a, b: a[4:4],
    'padding': lambda p, a, b: p.conv(a, weight(8, 8), None, b, out_channels=8, padding=3),
    'patches of another grid': lambda p, a, b: p.pointwise(a, b, patches=p.patches(p.grid(lambda h, w: (1, 1)))),
}


@pytest.mark.parametrize('name', WRONG)
def test_impossible_operators(name):
    program = Program()
    a, b = program.map(8), program.map(8)
    with pytest.raises(ValueError, match=r'.'):
        WRONG[name](program, a, b)


def test_neighbours_within_a_group():
    program = Program()
    a, b, c = (program.map(8) for _ in range(3))
    with program.fused():
        program.pointwise(a, b)
        with pytest.raises(ValueError, match='neighbours'):
            program.conv(b, weight(8, 8), None, c, out_channels=8)
    with program.fused():
        program.conv(a, weight(8, 8), None, b, out_channels=8)
        with pytest.raises(ValueError, match='neighbours'):
            program.pointwise(c, a)


def test_a_local_map_has_no_neighbours_and_is_written_first():
    program = Program()
    a, b = program.map(8), program.map(8)
    with program.fused():
        inside = program.local(8)
        with pytest.raises(ValueError, match='before it is written'):
            program.pointwise(inside, b)
        program.pointwise(a, inside)
        with pytest.raises(ValueError, match='local'):
            program.conv(inside, weight(8, 8), None, b, out_channels=8)


def test_whole_maps_are_not_read_in_their_stage(native):
    program = Program()
    a, b, c = (program.map(8) for _ in range(3))
    with program.stage():
        program.pointwise(a, b)
        program.resample(b, c)
    with pytest.raises(ValueError, match='stage'):
        Runner(program, native)


def test_wrong_weights_are_named(native):
    program = Program()
    a, b = program.map(8), program.map(8, name='feature')
    program.conv(a, weight(8, 7), None, b, out_channels=8)
    with pytest.raises(ValueError, match='weight of CONV into feature'):
        Runner(program, native)


def test_wrong_vectors_are_named(native):
    program = Program()
    program.pointwise(program.map(8), program.map(8, name='feature'), steps=[steps.prelu(torch.zeros(3))])
    with pytest.raises(ValueError, match='3 values for the 8 channels into feature'):
        Runner(program, native)


GOOD = torch.zeros(3, 9, 10)


@pytest.mark.parametrize(('tensor', 'message'), [
    (torch.zeros(4, 9, 10), 'needed'), (torch.zeros(3, 9, 10, dtype=torch.float64), 'float32'),
    (torch.zeros(3, 10, 9).transpose(1, 2), 'contiguous'), (torch.zeros(3, 9, 10, device='meta'), 'cpu'),
    (torch.zeros(3, 8, 10), 'needed'), (None, 'not given')])
def test_wrong_images(native, tensor, message):
    program = Program()
    image, result = program.image(3), program.image(3)
    program.pointwise(image, result)
    given = {image: GOOD} if tensor is None else {image: GOOD, result: tensor}
    with pytest.raises(ValueError, match=message):
        Runner(program, native).run(given)


@pytest.mark.parametrize(('patches', 'message'), [
    (np.zeros((1, 2), np.int32), 'int16'), (np.zeros(2, np.int16), 'int16'), (np.zeros((2, 2), np.int16), 'twice'),
    (np.zeros((1, 4), np.int16)[:, ::2], 'contiguous'), (np.array([[3, 0]], np.int16), '3x3'),
    (np.array([[0, -1]], np.int16), '3x3')])
def test_wrong_lists(native, patches, message):
    program = Program()
    image, result = program.image(3), program.image(3)
    listed = program.patches()
    program.pointwise(image, result, patches=listed)
    with pytest.raises(ValueError, match=message):
        Runner(program, native).run({image: GOOD, result: GOOD.clone()}, {listed: patches})


def test_images_of_any_layout_are_read(native):
    program = Program()
    image, result = program.image(3), program.image(3)
    program.pointwise(image, result)
    for source in (torch.rand(9, 10, 3).permute(2, 0, 1), torch.rand(10, 3, 9).permute(1, 2, 0),
                   torch.rand(1, 9, 1).expand(3, 9, 10)):
        found = torch.zeros(3, 9, 10)
        Runner(program, native).run({image: source, result: found})
        assert torch.equal(found, source)


@pytest.mark.parametrize('border', [1, 3])
@pytest.mark.parametrize('size', [(1, 1), (2, 9), (8, 5)])
def test_a_border_repeats_the_outermost_pixels(native, border, size):
    program = Program()
    wide = program.grid(lambda h, w: (h + 2 * border, w + 2 * border))
    image, inside, result = program.image(3), program.map(3, grid=wide), program.image(3, grid=wide)
    program.pointwise(image, inside, border=border)
    program.pointwise(inside, result)
    source, found = torch.rand(3, *size), torch.zeros(3, size[0] + 2 * border, size[1] + 2 * border)
    Runner(program, native).run({image: source, result: found})
    assert torch.equal(found, torch.nn.functional.pad(source[None], (border,) * 4, mode='replicate')[0])


def test_rows_may_be_apart(native):
    program = Program()
    image, result = program.image(3), program.image(3)
    program.pointwise(image, result)
    x, found = torch.arange(3 * 20 * 30.).reshape(3, 20, 30)[:, 5:14, 7:17], torch.zeros(3, 11, 30)
    Runner(program, native).run({image: x, result: found[:, :9, :10]})
    assert torch.equal(found[:, :9, :10], x) and not found[:, 9:].any() and not found[:, :, 10:].any()


def test_a_library_of_other_sources_is_one_line(tmp_path):
    source = tmp_path / 'other.c'
    source.write_text('int amsr_other(void) { return 0; }')
    compiler = build.find_compiler()
    if compiler is None:
        pytest.skip('no compiler')
    subprocess.run([*compiler, '-shared', '-fPIC', '-x', 'c', source, '-o', tmp_path / 'other.so'], check=True)
    with pytest.raises(OSError, match=r'other\.so lacks a function .*: remove it'):
        Library(tmp_path / 'other.so')
