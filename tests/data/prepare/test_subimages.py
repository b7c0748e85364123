"""The grid against BasicSR's rule, worked out by hand and as stated in its script."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr.data.prepare.subimages import names, starts, windows


@pytest.mark.parametrize(('length', 'crop', 'step', 'threshold', 'expected'), [
    (10, 4, 2, 0, [0, 2, 4, 6]),  # ends at the border
    (11, 4, 2, 0, [0, 2, 4, 6, 7]),  # one pixel remains: one more crop, ending at the border
    (11, 4, 2, 1, [0, 2, 4, 6]),  # one pixel is not more than the threshold
    (12, 4, 4, 0, [0, 4, 8]),
    (7, 4, 4, 0, [0, 3]),
    (4, 4, 2, 0, [0]),
    (3, 4, 2, 0, [0]),  # smaller than the crop: kept
])
def test_starts_by_hand(length, crop, step, threshold, expected):
    assert starts(length, crop, step, threshold) == expected


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10))
def test_starts_are_basicsrs(length, crop, step, threshold):
    if length < crop:
        return
    space = np.arange(0, length - crop + 1, step)
    if length - (space[-1] + crop) > threshold:
        space = np.append(space, length - crop)
    assert starts(length, crop, step, threshold) == space.tolist()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.data())
def test_lr_grid_is_the_grid_of_the_lr_image(rows, columns, scale, data):
    """Cutting LR by its own script options (everything divided by the scale) gives the same windows."""
    crop = data.draw(st.integers(1, 5))
    step = data.draw(st.integers(1, crop))
    high = windows(rows * scale, columns * scale, crop * scale, step * scale)
    low = windows(rows, columns, crop, step)
    assert [window.at(scale) for window in high] == [window.at(1) for window in low]


def test_every_pixel_is_covered():
    seen = np.zeros((37, 51), int)
    for window in windows(37, 51, 12, 6):
        seen[window.at(1)] += 1
        assert (window.height, window.width) == (12, 12)
    assert seen.min() == 1


def test_names_and_count_of_div2k():
    """DIV2K's 0001.png has 1404x2040 pixels; BasicSR's list of its sub-images goes from 0001_s001 to 0001_s040."""
    tiles = windows(1404, 2040, 480, 240)
    assert {(tile.height, tile.width) for tile in tiles} == {(480, 480)}
    found = names('0001', len(tiles))
    assert (found[0], found[-1], len(found)) == ('0001_s001', '0001_s040', 40)


def test_names_beyond_999_and_whole():
    assert names('x', 1000)[-1] == 'x_s1000' and names('x', 0) == ['x']
