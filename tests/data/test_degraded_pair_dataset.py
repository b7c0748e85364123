"""Pairs degraded on the fly: what a crop sees, what is drawn, and what stays fixed."""
import random

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from basicsr_amsr.data.degraded_pair_dataset import DegradedPairDataset
from basicsr_amsr.data.image_io import read_image, to_float
from basicsr_amsr.errors import UserError

NOISE = {'type': 'GaussianNoise', 'sigma': [0, 55], 'clip': False}
BLUR_AND_SHRINK = [{'type': 'GaussianBlur', 'sigma': 1.2}, {'type': 'Downscale', 'scale': 2}]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('a', 'b', 'c'):
        assert cv2.imwrite(str(tmp_path / f'{name}.png'), rng.integers(0, 256, (45, 54, 3), dtype=np.uint8))
    return tmp_path


def dataset(folder, degradations, phase='val', **more):
    return DegradedPairDataset({'name': 'x', 'phase': phase, 'scale': 1, 'dataroot_gt': str(folder),
                                'degradations': degradations, **more})


def training(folder, degradations, **more):
    return dataset(folder, degradations, 'train', gt_size=24, **more)


def rgb(path, gray=False):
    return torch.from_numpy(to_float(read_image(path, gray=gray))[..., ::-1].transpose(2, 0, 1).copy())


@pytest.mark.parametrize('gray', [False, True])
def test_denoising_pairs(folder, gray):
    pairs = dataset(folder, [{'type': 'GaussianNoise', 'sigma': 25, 'clip': False}], color='gray' if gray else None)
    for item, name in zip((pairs[i] for i in range(3)), 'abc', strict=True):
        assert torch.equal(item['gt'], rgb(folder / f'{name}.png', gray))
        noise = item['lq'] - item['gt']
        assert noise.shape == (1 if gray else 3, 45, 54)
        # the spread of a standard deviation over n values is sigma / sqrt(2n)
        assert abs(noise.std() * 255 - 25) < 4 * 25 / (2 * noise.numel())**0.5
        assert item['lq_path'] == item['gt_path'] == str(folder / f'{name}.png')


def test_validation_depends_on_seed_and_index_alone(folder):
    first = [item['lq'] for item in dataset(folder, [NOISE])]
    random.seed(1), torch.manual_seed(1), np.random.seed(1)
    pairs = dataset(folder, [NOISE])
    assert torch.equal(pairs[2]['lq'], first[2]) and torch.equal(pairs[0]['lq'], first[0])
    assert not torch.equal(dataset(folder, [NOISE], seed=1)[0]['lq'], first[0])
    noise = [lq - rgb(folder / f'{name}.png') for lq, name in zip(first, 'abc', strict=True)]
    correlation = np.corrcoef([n.flatten().numpy() for n in noise])[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 4.5 / noise[0].numel()**0.5


def test_sr_pairs(folder):
    item = dataset(folder, BLUR_AND_SHRINK, scale=2)[0]
    assert item['gt'].shape == (3, 44, 54) and item['lq'].shape == (3, 22, 27)
    assert torch.equal(item['gt'], rgb(folder / 'a.png')[:, :44])


@pytest.mark.parametrize('degradations', [
    BLUR_AND_SHRINK,
    [{'type': 'DiskBlur', 'radius': 2.5}, {'type': 'Downscale', 'scale': 2, 'method': 'subsample'}],
    [{'type': 'Downscale', 'scale': 2}, {'type': 'GaussianBlur', 'sigma': 0.8}, {'type': 'Quantize'}]])
def test_a_crop_is_the_crop_of_the_degraded_image(folder, degradations):
    """Every crop, also at the border, is what stands in the degraded image at its place in the clean one."""
    whole = {item['lq_path']: item for item in dataset(folder, degradations, scale=2)}
    pairs = training(folder, degradations, scale=2)
    for seed in range(30):
        random.seed(seed)
        item = pairs[seed % 3]
        clean, low = (whole[item['gt_path']][key] for key in ('gt', 'lq'))
        places = [(y, x) for y in range(0, 44 - 24 + 1, 2) for x in range(0, 54 - 24 + 1, 2)
                  if torch.equal(clean[:, y:y + 24, x:x + 24], item['gt'])]
        assert len(places) == 1
        y, x = places[0][0] // 2, places[0][1] // 2
        torch.testing.assert_close(item['lq'], low[:, y:y + 12, x:x + 12], rtol=0, atol=1e-6)


def test_flips_and_turns_are_those_of_the_target(folder):
    pairs = training(folder, [{'type': 'Downscale', 'scale': 2, 'method': 'subsample'}], scale=2, use_hflip=True,
                     use_rot=True)
    random.seed(0)
    turned = set()
    for _ in range(40):
        item = pairs[0]
        # the pixel that subsampling took is a corner of each 2×2 block: which one tells how the pair was turned
        corners = [torch.equal(item['lq'], item['gt'][:, i::2, j::2]) for i in (0, 1) for j in (0, 1)]
        assert sum(corners) == 1
        turned.add(corners.index(True))
    assert len(turned) == 4


def test_training_draws_follow_pythons_random(folder):
    pairs = training(folder, [{'type': 'SFM', 'mode': 'targeted'}, NOISE], use_hflip=True)

    def draw(seed):
        random.seed(seed)
        return [pairs[i]['lq'] for i in range(3)]

    first = draw(3)
    torch.manual_seed(5), np.random.seed(5)
    assert all(torch.equal(a, b) for a, b in zip(first, draw(3), strict=True))
    assert not torch.equal(first[0], draw(4)[0])


def test_sfm_comes_before_the_noise_and_leaves_the_target(folder):
    nothing_left, noise = {'type': 'SFM', 'mode': 'random', 'keep': 0, 'rate': 1}, {**NOISE, 'sigma': 25}
    random.seed(0)
    item = training(folder, [nothing_left, noise])[0]
    assert item['gt'].std() > 0.2
    # the noise is whole
    assert abs(item['lq'].std() * 255 - 25) < 4 * 25 / (2 * item['lq'].numel())**0.5
    assert training(folder, [noise, nothing_left])[0]['lq'].abs().max() < 1e-6


class SeededItems(torch.utils.data.Dataset):
    """Seeds Python's random for each item, as a seeded data set does."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        random.seed(index)
        return self.pairs[index]


def test_workers_give_the_same_items(folder):
    pairs = SeededItems(training(folder, [{'type': 'SFM', 'mode': 'central', 'rate': 1}, NOISE]))
    loaded = [[item['lq'] for item in DataLoader(pairs, num_workers=workers)] for workers in (0, 2)]
    assert all(torch.equal(a, b) for a, b in zip(*loaded, strict=True))


def test_mean_and_std(folder):
    plain, scaled = (dataset(folder, [NOISE], **more)[1] for more in ({}, {'mean': [0.5] * 3, 'std': [0.25] * 3}))
    for key in ('lq', 'gt'):
        torch.testing.assert_close(scaled[key], (plain[key] - 0.5) / 0.25)


def test_luma(folder):
    item = dataset(folder, [{'type': 'GaussianNoise', 'sigma': 0}], color='y')[0]
    assert item['lq'].shape == (1, 45, 54) and torch.equal(item['lq'], item['gt'])


def test_the_report_says_what_was_done(folder):
    said = dataset(folder, [*BLUR_AND_SHRINK, NOISE], scale=2, seed=4).lr_source
    assert said == ('degraded on the fly (Gaussian blur 1.2; MATLAB bicubic x2; Gaussian noise 0 to 55; seed 4) from '
                    f'{folder}')


@pytest.mark.parametrize(('degradations', 'more', 'words'), [
    ([], {'scale': 2}, 'shrink by 1, but scale is 2; {type: Downscale, scale: 2} is needed'),
    (BLUR_AND_SHRINK, {}, 'shrink by 2, but scale is 1'),
    ([{'type': 'GaussianNoise'}], {}, 'datasets:val:degradations:0: GaussianNoise needs the option sigma'),
    ({'type': 'GaussianNoise'}, {}, 'datasets: val: degradations is {'),
    ([], {'degradation': []}, "there is no option 'degradation' here. Did you mean degradations"),
    ([], {'seed': 'x'}, "datasets: val: seed is 'x'"),
    ([], {'io_backend': {'type': 'lmdb'}}, 'reads image files')])
def test_mistakes_are_one_line(folder, degradations, more, words):
    with pytest.raises(UserError) as error:
        dataset(folder, degradations, **more)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_an_image_that_is_too_small_is_named(folder):
    with pytest.raises(UserError, match=r"a.png' is 45x54, smaller than gt_size 64"):
        dataset(folder, [], 'train', gt_size=64)[0]
