"""Wavefronts over rows, several lists, shared memory, threads, fork, memory that runs out."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native import steps
from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from tests.execution.native.programs import FAST, error, mask_of, numbers, some_patches


def chain(depth: int, wavefront: bool, channels: int = 12):
    """(program, image, result, list, weights): 3x3 layers in turn between two maps."""
    program = Program()
    image, result = program.image(channels), program.image(channels)
    a, b = program.map(channels), program.map(channels)
    listed = program.patches()
    weights = [numbers(i, channels, channels, 3, 3) / (9 * channels) ** .5 for i in range(depth)]
    program.pointwise(image, a, patches=listed)

    def layers():
        for i, weight in enumerate(weights):
            one, two = (a, b)[i % 2], (a, b)[(i + 1) % 2]
            program.conv(one, weight, None, two, out_channels=channels, method=('direct', 'winograd')[i % 2],
                         steps=[steps.leaky_relu(.5)], patches=listed)
    if wavefront:
        with program.stage():
            layers()
    else:
        layers()
    program.pointwise((a, b)[depth % 2], result, patches=listed)
    return program, image, result, listed, weights


@given(st.tuples(st.integers(1, 60), st.integers(1, 40)), st.integers(1, 7), st.sampled_from([1, 4, 30]),
       st.integers(1, 4), st.booleans())
@FAST
def test_a_wavefront_is_layer_by_layer(native, size, depth, chunk, threads, ordered):
    x = numbers(1, 12, *size)
    patches = some_patches(*size, 1., 1)
    if ordered:
        patches = np.ascontiguousarray(patches[np.lexsort((patches[:, 1], patches[:, 0]))])
    wanted = x[None]
    program, image, result, listed, weights = chain(depth, True)
    for weight in weights:
        wanted = F.leaky_relu(F.conv2d(wanted, weight, padding=1), .5)
    found = torch.zeros(12, *size)
    Runner(program, native, threads, chunk=chunk).run({image: x, result: found}, {listed: patches})
    assert error(found, wanted[0]) < 1e-4


@given(st.tuples(st.integers(1, 60), st.integers(1, 40)), st.sampled_from([.1, .5, .9]), st.integers(1, 4))
@FAST
def test_a_wavefront_on_some_patches(native, size, share, threads):
    """Layer by layer on the same list, pixels that are not listed staying zero."""
    patches = some_patches(*size, share, 1)
    patches = np.ascontiguousarray(patches[np.lexsort((patches[:, 1], patches[:, 0]))])
    x, mask = numbers(1, 12, *size), mask_of(patches, *size)
    program, image, result, listed, weights = chain(4, True)
    wanted = x[None] * mask
    for weight in weights:
        wanted = F.leaky_relu(F.conv2d(wanted, weight, padding=1), .5) * mask
    found = torch.zeros(12, *size)
    Runner(program, native, threads, chunk=2).run({image: x, result: found}, {listed: patches})
    assert error(found, wanted[0]) < 1e-4


def test_sizes_in_turn(native):
    program, image, result, _, weights = chain(3, True)
    runner = Runner(program, native)
    for size in ((30, 41), (9, 5), (30, 41), (1, 1), (64, 64)):
        x, found = numbers(1, 12, *size), torch.zeros(12, *size)
        runner.run({image: x, result: found})
        wanted = x[None]
        for weight in weights:
            wanted = F.leaky_relu(F.conv2d(wanted, weight, padding=1), .5)
        assert error(found, wanted[0]) < 1e-4


def test_two_callers_at_a_time(native):
    made = [chain(6, True) for _ in range(2)]
    runners = [Runner(one[0], native, 2) for one in made] + [None]
    runners[2] = runners[0]  # and two on one runner
    inputs = [numbers(i, 12, 50, 70) for i in range(3)]
    programs = [made[0], made[1], made[0]]

    def run(i: int) -> torch.Tensor:
        found = torch.zeros(12, 50, 70)
        runners[i].run({programs[i][1]: inputs[i], programs[i][2]: found})
        return found

    wanted = [run(i) for i in range(3)]
    wrong: list[int] = []

    def repeat(i: int) -> None:
        for _ in range(30):
            if not torch.equal(run(i), wanted[i]):
                wrong.append(i)

    callers = [threading.Thread(target=repeat, args=[i]) for i in range(3)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


def test_short_vectors_have_no_wavefront(native):
    for isa in native.available:
        with native.using(isa):
            program = Program()
            program.pointwise(program.image(1), program.map(1))
            assert (Runner(program, native).chunk > 0) == isa.startswith('avx512')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_fork(native):
    """A child of a process whose threads run computes the same, with threads of its own."""
    code = textwrap.dedent("""
        import os, numpy, torch
        from basicsr_amsr.execution.native.library import library
        from basicsr_amsr.execution.native.runner import Runner
        from tests.execution.native.test_stages import chain, numbers
        program, image, result, *_ = chain(4, True)
        runner, x = Runner(program, library(), 3), numbers(1, 12, 50, 70)
        found, again = torch.zeros(12, 50, 70), torch.zeros(12, 50, 70)
        runner.run({image: x, result: found})
        child = os.fork()
        for _ in range(5):
            runner.run({image: x, result: again})
        good = numpy.array_equal(found.numpy(), again.numpy())  # torch's own threads do not survive a fork
        if child == 0:
            os._exit(0 if good else 3)
        assert good and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_no_memory_is_a_memory_error(native):
    program = Program()
    image, result = program.image(1), program.image(1)
    program.pointwise(image, result)
    huge = program.map(64, grid=program.grid(lambda height, width: (2 ** 21, 2 ** 21)))
    program.pointwise(huge, program.map(64, grid=huge.grid))
    with pytest.raises(MemoryError, match='MB for the maps'):
        Runner(program, native).run({image: torch.zeros(1, 4, 4), result: torch.zeros(1, 4, 4)})


def test_threads_sleep_between_images(native):
    program, image, result, *_ = chain(2, True)
    runner, x, found = Runner(program, native, 2), numbers(1, 12, 20, 20), torch.zeros(12, 20, 20)
    runner.run({image: x, result: found})
    threading.Event().wait(.1)
    before = os.times()
    threading.Event().wait(.5)
    after = os.times()
    assert after.user + after.system - before.user - before.system < .1
