"""One level for many images."""
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.level import level_over, quantiles


@settings(max_examples=30, deadline=None)
@given(keep=st.floats(0, 1), relative=st.sampled_from([0.0, 0.25, 1.0]), seed=st.integers(0, 99))
def test_the_share_of_the_patches_is_over_the_level(keep, relative, seed):
    torch.manual_seed(seed)
    images = [torch.rand(1, 3, 40 + 4 * i, 36) * (i + 1) / 5 for i in range(5)]
    selection = HighFrequencyMask(patch_size=4, relative=relative)
    by_level = dataclasses.replace(selection, level=level_over(quantiles(selection, images), keep))
    patches = [by_level.patches(image) for image in images]
    found = sum(int(each.sum()) for each in patches) / sum(each.numel() for each in patches)
    assert found == pytest.approx(keep, abs=0.015)
    if 0.2 < keep < 0.8 and not relative:
        assert patches[0].float().mean() < keep < patches[-1].float().mean()


def test_quantiles_are_ascending_and_levels_between_them():
    levels = quantiles(HighFrequencyMask(patch_size=4), [torch.rand(1, 3, 64, 64)])
    assert levels == sorted(levels) and len(levels) == 101
    assert level_over(levels, 0) == levels[-1] and level_over(levels, 1) == levels[0]
    assert level_over(levels, 0.705) == pytest.approx((levels[29] + levels[30]) / 2)
