import cv2
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import list_images, to_float
from basicsr_amsr.registry import SELECTION_REGISTRY
from basicsr_amsr.selection.high_frequency import high_frequency
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.keep import at_keep

options = st.fixed_dictionaries({}, optional={
    'sigma': st.floats(0.5, 3), 'size': st.sampled_from([1, 3, 7]), 'noise_discount': st.sampled_from([0.0, 1.0]),
    'smooth': st.sampled_from([1, 5]), 'patch_size': st.sampled_from([1, 4, 8, 16, 32]),
    'power': st.sampled_from([1.0, 2.0])})
rules = st.one_of(st.fixed_dictionaries({'keep': st.floats(0, 1)}),
                  st.fixed_dictionaries({'level': st.floats(0, 0.2), 'relative': st.sampled_from([0.0, 0.3, 1.0])}),
                  st.fixed_dictionaries({'dilation': st.integers(0, 3), 'threshold': st.sampled_from([0.0, 0.3])}))


def test_it_is_registered():
    assert SELECTION_REGISTRY.get('HighFrequencyMask') is HighFrequencyMask


@settings(max_examples=60, deadline=None)
@given(shared_options=options, rule=rules, h=st.integers(1, 40), w=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_image_of_a_batch_has_the_mask_it_has_alone(shared_options, rule, h, w, seed):
    torch.manual_seed(seed)
    images = torch.rand(3, 3, h, w)
    images[1] = 0.5
    select = HighFrequencyMask(**shared_options, **rule)
    mask = select(images)
    assert mask.shape == (3, 1, h, w) and mask.dtype == torch.bool
    assert torch.equal(mask, torch.cat([select(image[None]) for image in images]))
    rows, cols = -(-h // select.patch_size), -(-w // select.patch_size)
    patches = select.patches(images)
    assert patches.shape == (3, rows, cols)
    for y in range(rows):
        for x in range(cols):
            inside = mask[:, 0, y * select.patch_size:(y + 1) * select.patch_size,
                          x * select.patch_size:(x + 1) * select.patch_size]
            assert torch.equal(inside, patches[:, y, x, None, None].expand_as(inside))
    if select.keep is not None:
        assert patches.flatten(1).sum(1).tolist() == [int(select.keep * rows * cols + 0.5)] * 3


def test_edges_are_taken_and_flat_areas_are_not():
    image = torch.zeros(1, 3, 20, 30)
    image[..., 15:] = 1.0
    mask = HighFrequencyMask()(image)
    assert torch.equal(mask, torch.zeros(1, 1, 20, 30, dtype=torch.bool).index_fill(3, torch.tensor([14, 15]), True))
    wider = HighFrequencyMask(dilation=2)(image)
    assert wider[0, 0, 0].nonzero()[:, 0].tolist() == [12, 13, 14, 15, 16, 17]


@pytest.mark.parametrize('value', [0.0, 0.1, 0.37, 1.0])
def test_a_flat_image_has_an_empty_mask(value):
    image = torch.full((2, 3, 33, 17), value)
    for select in (HighFrequencyMask(), HighFrequencyMask(smooth=5, noise_discount=1.0, patch_size=8, dilation=2),
                   HighFrequencyMask(level=1e-6, patch_size=4, relative=1.0, power=2.0)):
        assert not select(image).any()


def test_a_fixed_keep_takes_the_patches_of_most_high_frequency():
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, 4:8, 8:12] = torch.rand(3, 4, 4)
    patches = HighFrequencyMask(patch_size=4, keep=1 / 16).patches(image)
    assert patches[0].nonzero().tolist() == [[1, 2]]


def test_a_level_takes_the_patches_whose_mean_is_over_it():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 10, 13) * torch.tensor([0.2, 1.0]).view(2, 1, 1, 1)
    select = HighFrequencyMask(patch_size=4, smooth=3, power=2.0, level=0.05)
    squares = F.pad(high_frequency(images)**2, (1, 1, 1, 1))
    inside = F.avg_pool2d(F.pad(torch.ones(1, 1, 10, 13), (1, 1, 1, 1)), 3, 1)
    smoothed = F.avg_pool2d(squares, 3, 1) / inside
    means = torch.stack([torch.stack([smoothed[:, 0, y:y + 4, x:x + 4].mean((1, 2)) for x in range(0, 13, 4)], 1)
                         for y in range(0, 10, 4)], 1).sqrt()
    torch.testing.assert_close(select.levels(images), means)
    assert torch.equal(select.patches(images), means > 0.05)
    few, many = select.patches(images).flatten(1).sum(1)
    assert few < many


def test_relative_levels_are_of_the_patches_of_an_image():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 16)
    images = torch.cat([image, 0.1 * image])
    absolute, between, relative = (
        HighFrequencyMask(patch_size=4, level=1.0, relative=power).levels(images) for power in (0.0, 0.5, 1.0))
    torch.testing.assert_close(absolute[0], 10 * absolute[1])
    torch.testing.assert_close(between[0], 10**0.5 * between[1])
    torch.testing.assert_close(relative[0], relative[1])
    torch.testing.assert_close(relative.mean((1, 2)), torch.ones(2))


def test_windows_have_levels_too():
    image = torch.zeros(1, 3, 16, 24)
    image[:, :, 4, 4] = 1.0
    plain, shifted = HighFrequencyMask(level=1e-3).windows(image, 8, (0, 4))
    assert plain[0].nonzero().tolist() == [[0, 0]]
    assert shifted[0].nonzero().tolist() == [[0, 0], [0, 2], [1, 0], [1, 2]]


def test_windows_follow_the_shift_and_the_rule():
    image = torch.zeros(1, 3, 16, 24)
    image[:, :, 4, 4] = 1.0
    plain, shifted = HighFrequencyMask(dilation=1).windows(image, 8, (0, 4))
    assert plain[0].nonzero().tolist() == [[0, 0]] and plain.shape == (1, 2, 3)
    assert shifted[0].nonzero().tolist() == [[0, 0], [0, 2], [1, 0], [1, 2]]  # 3 … 5 lies over the seams
    few = HighFrequencyMask(keep=0.5).windows(torch.rand(2, 3, 16, 24), 8, (0, 4))
    assert [windows.flatten(1).sum(1).tolist() for windows in few] == [[3, 3], [3, 3]]


def test_windows_of_an_unpadded_image_are_refused():
    with pytest.raises(UserError, match='15x24'):
        HighFrequencyMask().windows(torch.rand(1, 3, 15, 24), 8)


@pytest.mark.parametrize(('name', 'value'), [
    ('keep', 1.5), ('keep', 'half'), ('sigma', 0), ('sigma', float('nan')), ('size', 4), ('size', 5.0), ('smooth', 0),
    ('dilation', -1), ('patch_size', 0), ('patch_size', True), ('threshold', 1.0), ('noise_discount', -0.1),
                                             ('level', -1),
    ('relative', 2), ('power', 0)])
def test_senseless_values_are_named(name, value):
    with pytest.raises(UserError, match=f'selection: {name} is {value!r}'):
        HighFrequencyMask(**{name: value})


@pytest.mark.parametrize('rule', ['keep', 'level'])
@pytest.mark.parametrize('name', ['dilation', 'threshold'])
def test_keep_and_level_go_with_no_other_rule(rule, name):
    with pytest.raises(UserError, match=f'{name} is .* but {rule} decides'):
        HighFrequencyMask(**{rule: 0.5, name: 1 if name == 'dilation' else 0.5})


def test_keep_and_level_exclude_each_other():
    with pytest.raises(UserError, match=r'keep is 0\.5 and level 0\.1'):
        HighFrequencyMask(keep=0.5, level=0.1)
    assert at_keep(HighFrequencyMask(level=0.1, patch_size=4), 0.5) == HighFrequencyMask(keep=0.5, patch_size=4)


def test_score_is_the_high_frequency_map_and_needs_no_gradient():
    image = torch.rand(1, 3, 9, 9, requires_grad=True)
    score = HighFrequencyMask().score(image)
    assert torch.equal(score, high_frequency(image.detach())) and not score.requires_grad


def test_noise_does_not_flood_the_mask_with_the_discount(shared):
    torch.manual_seed(0)
    folder = shared / 'data' / 'val' / 'div2k_valid_crop256'
    lr = torch.stack([torch.from_numpy(to_float(downscale(cv2.imread(str(path)), 2))).permute(2, 0, 1).flip(0)
                      for path in list_images(folder)[:30]])
    noisy = (lr + 25 / 255 * torch.randn_like(lr)).clamp(0, 1)
    plain, discounted = HighFrequencyMask(), HighFrequencyMask(noise_discount=1.0)
    clean = plain(lr).float().mean().item()
    assert plain(noisy).float().mean().item() > 1.4 * clean
    assert discounted(noisy).float().mean().item() < 1.15 * clean
    assert (discounted(lr) ^ plain(lr)).float().mean().item() < 0.01
