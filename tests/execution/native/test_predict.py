"""Predictions are written at the pixels near active patches, and nowhere else."""
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basicsr_amsr.execution.native.program import Program
from basicsr_amsr.execution.native.runner import Runner
from basicsr_amsr.execution.skipping.lists import lists_of
from tests.execution.native.programs import FAST, error, mask_of, numbers, some_patches


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.sampled_from([1, 5, 16, 50]),
       st.sampled_from([1, 3, 16, 40]), st.sampled_from([1, 2, 3, 4]), st.integers(0, 4), st.booleans(),
       st.sampled_from(['float32', 'bfloat16']), st.sampled_from([0., .2, .6, 1.]))
@FAST
def test_near_active_patches(native, size, inputs, outputs, scale, reach, rectified, dtype, share):
    height, width = size
    x = numbers(1, inputs, *size)
    number = outputs * scale ** 2
    weight, bias = numbers(2, number, inputs * (1 + rectified)) / inputs ** .5, numbers(3, number)
    active = mask_of(some_patches(*size, share, 4), *size)
    lists = lists_of(native, active[::4, ::4].numpy(), *size)
    program = Program()
    image, result = program.image(inputs), program.image(outputs, scale=scale)
    source, out = program.map(inputs, dtype=dtype), program.map(outputs, scale=scale, dtype=dtype)
    listed = program.patches()
    program.pointwise(image, source)
    program.predict(source, weight, bias, out, out_channels=len(bias), shuffle=scale, reach=reach, rectified=rectified,
                    compute=dtype, patches=listed)
    program.pointwise(out, result)
    found = torch.full((outputs, height * scale, width * scale), 7.)
    band = lists.band if reach else lists.skipped
    Runner(program, native, 2).run({image: x, result: found}, {listed: band},
                                   near={listed: lists.near} if reach else None)

    features = torch.cat([x, x.relu()]) if rectified else x
    rows = F.conv2d(features[None].double(), weight[:, :, None, None].double(), bias.double())
    wanted = F.pixel_shuffle(rows, scale)[0]
    wide = active.repeat_interleave(scale, 0).repeat_interleave(scale, 1)[None, None].float()
    around = F.max_pool2d(wide, 2 * reach + 1, 1, reach) if reach else torch.ones_like(wide)
    written = (around > wide)[0].expand_as(found)
    assert (found[~written] == 0).all()
    assert error(found[written], wanted[written]) < (1e-5 if dtype == 'float32' else 2e-2)


def test_says_which_neighbours_are_missing(native):
    program = Program()
    image, one, out = program.image(4), program.map(4), program.map(4)
    program.pointwise(image, one)
    program.predict(one, torch.eye(4), None, out, out_channels=4, reach=1)
    with pytest.raises(ValueError, match='which of their neighbours are active'):
        Runner(program, native).run({image: numbers(1, 4, 8, 8)})
