"""Transforms from options, on items and on batches."""
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr.errors import UserError
from basicsr_amsr.transforms.base import number_range, seeded_generator, uniform
from basicsr_amsr.transforms.build_transforms import build_sample_transforms, build_transforms

SFM = {'type': 'SFM', 'target': 'lq', 'mode': 'random', 'rate': 1}


def item(seed=0, *batch):
    generator = seeded_generator(seed)
    return {'lq': torch.rand(*batch, 3, 8, 8, generator=generator), 'gt': torch.rand(*batch, 3, 16, 16), 'path': 'x'}


def test_only_the_target_changes():
    sample = item()
    before = sample['lq'].clone()
    result = build_sample_transforms([SFM], 'here')(sample)
    assert list(result) == list(sample) and result['path'] == 'x' and result['gt'] is sample['gt']
    assert not torch.equal(result['lq'], before) and torch.equal(sample['lq'], before)


def test_a_batch_is_one_call_too():
    batch = item(0, 4)
    result = build_sample_transforms([SFM], 'here')(batch, device='cpu')
    assert result['lq'].shape == batch['lq'].shape and not torch.equal(result['lq'], batch['lq'])


def test_they_follow_one_another():
    options = [SFM, {'type': 'Quantize', 'target': 'lq'}]
    random.seed(1)
    both = build_sample_transforms(options, 'here')(item())['lq']
    random.seed(1)
    first = build_sample_transforms(options[:1], 'here')(item())['lq']
    assert torch.equal(both, (first.clamp(0, 1) * 255).round() / 255)


def test_none_and_an_empty_list_do_nothing():
    for options in (None, []):
        assert build_sample_transforms(options, 'here')(item())['lq'].shape == (3, 8, 8)
        assert build_transforms(options, 'here') == []


def test_a_target_that_is_not_there():
    with pytest.raises(UserError, match=r"target 'lg' is no image of the data set\. Did you mean lq"):
        build_sample_transforms([{**SFM, 'target': 'lg'}], 'here')(item())


@pytest.mark.parametrize(('options', 'words'), [
    ({'type': 'SFM'}, 'here: must be a list'),
    (['SFM'], 'here: must be a list'),
    ([{'type': 'SFN', 'target': 'lq'}], "here:0: type: No transform named 'SFN'. Did you mean SFM"),
    ([SFM, {'target': 'lq'}], 'here:1: type is missing'),
    ([{'type': 'SFM'}], 'here:0: target is missing'),
    ([{**SFM, 'mod': 1}], 'here:0: SFM has no option mod. Did you mean mode'),
    ([{**SFM, 'rate': 2}], "here:0: SFM: rate is '2'; it must be a number from 0 to 1"),
    ([{'type': 'GaussianNoise', 'target': 'lq'}], 'here:0: GaussianNoise needs the option sigma'),
    ([{'type': 'GaussianNoise', 'target': 'lq', 'sigma': [5, 2]}], 'its first number must not exceed the second'),
    ([{'type': 'GaussianNoise', 'target': 'lq', 'sigma': [1, 2, 3]}], r'a number or \[low, high\]'),
    ([{'type': 'GaussianNoise', 'target': 'lq', 'sigma': 'big'}], 'sigma is'),
    ([{'type': 'JPEG', 'target': 'lq', 'quality': 30.5}], 'whole numbers'),
    ([{'type': 'Downscale', 'target': 'lq', 'scale': 0}], 'scale is'),
    ([{'type': 'GaussianBlur', 'target': 'lq', 'sigma': 1, 'kernel_size': 4}], 'an odd number')])
def test_mistakes_are_one_line(options, words):
    with pytest.raises(UserError, match=words) as error:
        build_sample_transforms(options, 'here')
    assert '\n' not in str(error.value)


@given(low=st.floats(-9, 9), width=st.floats(0, 9), count=st.integers(0, 5), seed=st.integers(0, 99))
def test_draws_stay_in_their_range(low, width, count, seed):
    bounds = number_range([low, low + width], 'x')
    drawn = uniform(bounds, [seeded_generator(seed)] * count)
    assert drawn.shape == (count,) and ((drawn >= bounds[0]) & (drawn <= bounds[1])).all()
