"""The native map of high frequencies, its patches and lists, against torch's."""
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.amsr.config import calibrated_selection, default_selection
from basicsr_amsr.execution.native import selection as native_selection
from basicsr_amsr.execution.native.selection import patches_of
from basicsr_amsr.execution.skipping.lists import lists_of
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.two_means import two_means
from tests.execution.native.programs import EXAMPLES

options = st.fixed_dictionaries({
    'sigma': st.floats(0.3, 3), 'size': st.sampled_from([1, 3, 5, 9, 35]),
    'noise_discount': st.sampled_from([0.0, 0.7, 1.0]), 'smooth': st.sampled_from([1, 3, 5, 37]),
    'patch_size': st.sampled_from([1, 3, 4, 8, 16, 32]), 'power': st.sampled_from([1.0, 2.0])})
rules = st.one_of(st.fixed_dictionaries({'keep': st.floats(0, 1)}),
                  st.fixed_dictionaries({'level': st.floats(0, 0.2), 'relative': st.sampled_from([0.0, 0.25, 1.0])}),
                  st.fixed_dictionaries({'dilation': st.integers(0, 2), 'threshold': st.sampled_from([0.0, 0.3])}))


def pictures(batch: int, channels: int, height: int, width: int, kind: str, seed: int) -> torch.Tensor:
    """Images with detail in one half, in 256 levels as files have them or not; or flat ones."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(batch, channels, height, width, generator=generator)
    if kind == 'flat':
        return noise[..., :1, :1].expand_as(noise).contiguous()
    noise[..., width // 2:] *= 0.05
    return (noise * 255).round() / 255 if kind == 'levels' else noise


def close(native: torch.Tensor, expected: torch.Tensor, selection: HighFrequencyMask, images: torch.Tensor) -> None:
    """Equal to rounding: images are in 0–1, and the map with the noise's share, of which it is the rest, rounds too.

    What is left of the noise is a difference of almost equal squares, so that the squares are compared."""
    assert native.shape == expected.shape
    most = dataclasses.replace(selection, noise_discount=0.0, smooth=1).score(images).double().max()
    error = (native.double()**2 - expected.double()**2).abs().max()
    assert error <= 1e-6 * most * (most + 1) + 1e-13, error


@settings(max_examples=EXAMPLES)
@given(shared=options, batch=st.integers(1, 3), channels=st.sampled_from([1, 3]), height=st.integers(1, 50),
       width=st.integers(1, 50), kind=st.sampled_from(['levels', 'any', 'flat']), seed=st.integers(0, 99))
def test_maps_and_means_are_those_of_torch(native, shared, batch, channels, height, width, kind, seed):
    images = pictures(batch, channels, height, width, kind, seed)
    selection = HighFrequencyMask(**shared)
    assert native_selection.covers(selection, images)
    for isa in native.available:
        with native.using(isa):
            close(native_selection.patch_means(selection, images), selection.patch_means(images),
                  selection, images)
            close(native_selection._detail(selection, images, whole=True), selection.score(images),
                  selection, images)


@settings(max_examples=EXAMPLES)
@given(shared=options, rule=rules, channels=st.sampled_from([1, 3]), height=st.integers(1, 50),
       width=st.integers(1, 50), kind=st.sampled_from(['levels', 'any', 'flat']), seed=st.integers(0, 99))
def test_patches_are_those_of_torch_but_for_rounding(native, shared, rule, channels, height, width, kind, seed):
    images = pictures(2, channels, height, width, kind, seed)
    selection = HighFrequencyMask(**shared, **rule)
    mine, expected = native_selection.patches(selection, images), selection.patches(images)
    assert mine.shape == expected.shape and mine.dtype == torch.bool
    if selection.keep is not None:
        assert torch.equal(mine.flatten(1).sum(1), expected.flatten(1).sum(1))
    # Each of the maps is right to rounding (above), so a patch may differ only where what decides is near the limit.
    most = dataclasses.replace(selection, noise_discount=0.0, smooth=1).score(images).double().flatten(1).amax(1)
    room = 2e-6 * most * (most + 1) + 1e-13
    for one, differing in enumerate(mine != expected):
        if not differing.any():
            continue
        if selection.by_two_means:
            score = selection.score(images[one:one + 1])
            values, limit = score.double().flatten(), two_means(score.flatten(1)).threshold
            assert ((values**2 - limit**2).abs() <= room[one]).any() or limit.isinf()
        else:
            means = selection.patch_means(images[one:one + 1]).double()[0]
            limit = means[expected[one]].min() if selection.level is None else selection.level * (
                means.mean() ** selection.relative)
            assert ((means[differing]**2 - limit**2).abs() <= 2 * room[one]).all()


@pytest.mark.parametrize('selection', [
    default_selection(), dataclasses.replace(calibrated_selection(), keep=None, level=0.02), calibrated_selection()])
@pytest.mark.parametrize('size', [(270, 480), (67, 301)])
def test_the_shipped_selections_choose_the_same_patches(native, selection, size):
    images = F.interpolate(pictures(2, 3, 40, 60, 'any', 3), size, mode='bicubic').clamp(0, 1)
    noise = 0.01 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    images = ((images + noise) * 255).round() / 255
    for isa in native.available:
        with native.using(isa):
            mine, expected = native_selection.patches(selection, images), selection.patches(images)
            values = selection.levels(images)
            limit = selection.level or values[expected].min()
            assert (mine != expected).float().mean() < 1e-3
            assert ((values - limit).abs()[mine != expected] < 1e-5).all()


def test_flat_images_have_no_high_frequency_at_all(isa):
    for value in (0.0, 0.1, 0.37, 1.0):
        for selection in (HighFrequencyMask(), calibrated_selection(), default_selection()):
            image = torch.full((1, 3, 33, 17), value)
            assert not native_selection._detail(selection, image, whole=True).any()


def test_an_image_that_is_not_finite_has_no_patches_by_level(isa):
    image = torch.rand(1, 3, 20, 20)
    image[0, 1, 3, 4] = torch.nan
    selection = dataclasses.replace(calibrated_selection(), keep=None, level=0.0)
    assert torch.equal(native_selection.patches(selection, image), selection.patches(image))


def test_views_and_other_strides_are_read_right(native):
    whole = pictures(2, 4, 30, 41, 'any', 5)
    selection = calibrated_selection()
    for images in (whole[:, 1:], whole[:, :3, 2:21, 5:30], whole[:, :3].transpose(2, 3), whole[:, :3, ::2],
                   whole[:, :3].to(memory_format=torch.channels_last), whole[:, 2:3].expand(2, 3, 30, 41)):
        assert images.shape[1] == 3
        close(native_selection.patch_means(selection, images), selection.patch_means(images), selection, images)


def test_what_is_not_covered_is_left_to_torch(native, monkeypatch):
    image, selection = torch.rand(1, 3, 12, 13), calibrated_selection()
    monkeypatch.setattr(native_selection, '_detail', lambda *_, **__: pytest.fail('computed natively'))
    cases = [(selection, image.double()), (selection, image.bfloat16()), (selection, image.to('meta')),
             (dataclasses.replace(selection, power=3.0), image)]
    for one, images in cases:
        assert not native_selection.covers(one, images)
    assert torch.equal(native_selection.patches(*cases[0]), selection.patches(image.double()))
    monkeypatch.setattr(native_selection, 'library', lambda: None)
    assert torch.equal(native_selection.patches(selection, image), selection.patches(image))
    assert torch.equal(native_selection.patch_means(selection, image), selection.patch_means(image))


@settings(max_examples=EXAMPLES)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.sampled_from([4, 8, 16]),
       share=st.sampled_from([0.0, 0.1, 0.5, 1.0]), seed=st.integers(0, 99))
def test_lists_and_band(native, height, width, size, share, seed):
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand(2, -(-height // size), -(-width // size), generator=generator) < share
    layout = Layout(patches, size, height, width, 4)
    mask = layout.mask(1)[:, 0]
    active = patches_of(patches, size, height, width)
    assert active.shape == (2, -(-height // 4), -(-width // 4))
    for one, patches in enumerate(active):
        assert np.array_equal(patches.repeat(4, 0).repeat(4, 1)[:height, :width], mask[one].numpy())
        lists = lists_of(native, patches, height, width)
        for found, expected in ((lists.active, patches), (lists.skipped, ~patches)):
            assert found.dtype == np.int16 and found.shape == (expected.sum(), 2) and found.flags.c_contiguous
            assert np.array_equal(found, np.argwhere(expected))
        pixels = layout.band[(layout.band >= one * height * width) & (layout.band < (one + 1) * height * width)].numpy()
        pixels = pixels - one * height * width
        holding = np.unique(np.stack([pixels // width // 4, pixels % width // 4], 1), axis=0)
        assert np.array_equal(lists.band, holding)
        framed = np.pad(patches, 1)
        around = [framed[1 + dy:, 1 + dx:][tuple(lists.band.T)] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
        assert np.array_equal(lists.near, np.packbits(around, 0, 'little')[0])
        assert lists.share == pytest.approx(1 - float(mask[one].float().mean()))


def test_patches_that_do_not_fit_are_refused():
    patches = torch.ones(1, 3, 3, dtype=torch.bool)
    for size, height in ((4, 13), (6, 18), (2, 6)):
        with pytest.raises(ValueError):
            patches_of(patches, size, height, 12)
    with pytest.raises(ValueError):
        patches_of(patches.float(), 4, 12, 12)
