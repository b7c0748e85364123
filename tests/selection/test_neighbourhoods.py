import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.selection.keep import top_keep
from basicsr_amsr.selection.neighbourhoods import (
    dilate,
    expand_patches,
    patch_any,
    patch_mean,
    patch_over,
    smooth,
    window_mask,
)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 13), st.integers(1, 13))
seeds = st.integers(0, 99)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, half=st.integers(0, 7), seed=seeds)
def test_smooth_is_the_mean_of_the_pixels_that_exist(shape, half, seed):
    torch.manual_seed(seed)
    n, h, w = shape
    score = torch.rand(n, 1, h, w)
    result = smooth(score, 2 * half + 1)
    for y in range(h):
        for x in range(w):
            box = score[:, 0, max(y - half, 0):y + half + 1, max(x - half, 0):x + half + 1]
            torch.testing.assert_close(result[:, 0, y, x], box.mean((1, 2)))


@settings(max_examples=40, deadline=None)
@given(shape=shapes, radius=st.integers(0, 15), density=st.sampled_from([0.0, 0.05, 0.3, 1.0]), seed=seeds)
def test_dilation_reaches_the_radius_and_no_further(shape, radius, density, seed):
    torch.manual_seed(seed)
    n, h, w = shape
    mask = torch.rand(n, 1, h, w) < density
    before = mask.clone()
    result = dilate(mask, radius)
    for y in range(h):
        for x in range(w):
            box = before[:, 0, max(y - radius, 0):y + radius + 1, max(x - radius, 0):x + radius + 1]
            assert torch.equal(result[:, 0, y, x], box.flatten(1).any(1))
    assert torch.equal(mask, before)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, size=st.integers(1, 15), density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
       threshold=st.sampled_from([0.0, 0.25, 0.5]), seed=seeds)
def test_blocks_at_the_border_count_the_pixels_they_have(shape, size, density, threshold, seed):
    torch.manual_seed(seed)
    n, h, w = shape
    mask = torch.rand(n, 1, h, w) < density
    chosen = patch_any(mask, size)
    for row in range(-(-h // size)):
        for col in range(-(-w // size)):
            block = mask[:, 0, row * size:(row + 1) * size, col * size:(col + 1) * size].flatten(1)
            share = block.float().mean(1)
            assert torch.equal(chosen[:, row, col], block.any(1))
            torch.testing.assert_close(patch_mean(mask, size)[:, row, col], share)
            assert torch.equal(patch_over(mask, size, threshold)[:, row, col], share > threshold)
    wide = expand_patches(chosen, size, h, w)
    assert wide.shape == mask.shape and not (mask & ~wide).any()
    assert torch.equal(patch_any(wide, size), chosen)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 3), rows=st.integers(1, 4), cols=st.integers(1, 4), size=st.integers(1, 5), seed=seeds)
def test_shifted_windows_are_those_of_the_shifted_image(n, rows, cols, size, seed):
    torch.manual_seed(seed)
    mask = torch.rand(n, 1, rows * size, cols * size) < 0.3
    shift = size // 2
    height, width = mask.shape[-2:]
    result = window_mask(mask, size, 0.2, shift)
    for row in range(rows):
        for col in range(cols):
            ys = [(row * size + i + shift) % height for i in range(size)]
            xs = [(col * size + j + shift) % width for j in range(size)]
            share = mask[:, 0][:, ys][:, :, xs].float().flatten(1).mean(1)
            assert torch.equal(result[:, row, col], share > 0.2)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, keep=st.floats(0, 1), levels=st.sampled_from([1, 3, 1000]), seed=seeds)
def test_top_keep_takes_exactly_so_many_and_the_first_of_equals(shape, keep, levels, seed):
    torch.manual_seed(seed)
    score = torch.randint(levels, shape).float()
    chosen = top_keep(score, keep).flatten(1)
    count = int(keep * chosen.shape[1] + 0.5)
    for row, taken in zip(score.flatten(1).tolist(), chosen, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        assert sorted(order[:count]) == taken.nonzero()[:, 0].tolist()


@pytest.mark.parametrize(('keep', 'count'), [(0.0, 0), (0.5, 3), (0.49, 2), (1.0, 5)])
def test_halves_are_rounded_up(keep, count):
    assert top_keep(torch.rand(2, 5), keep).sum(1).tolist() == [count, count]
