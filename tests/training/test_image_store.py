"""Crops from one tensor of all images against cropping, flipping and transposing each image."""
import random

import numpy as np
import pytest
import torch
from basicsr.data.transforms import augment, paired_random_crop

from basicsr_amsr.training.image_store import Crop, ImageStore, draw_crop

SIZES = ((7, 9), (12, 5), (5, 5), (31, 6))


def images(channels=3, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randint(0, 256, (*size, channels), generator=generator, dtype=torch.uint8) for size in SIZES]
    return values if dtype == torch.uint8 else [image.float() / 255 - 0.5 for image in values]


def expected(image, crop):
    """Slice, then flip, then transpose; (C, side, side) in 0–1."""
    part = image[crop.top:crop.top + crop.side, crop.left:crop.left + crop.side].numpy()
    part = part[:, ::-1] if crop.flip_x else part
    part = part[::-1] if crop.flip_y else part
    part = part.transpose(1, 0, 2) if crop.transpose else part
    values = part.astype(np.float32) / 255 if part.dtype == np.uint8 else part
    return torch.from_numpy(values.transpose(2, 0, 1).copy())


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_every_turn_at_every_border(device, channels, dtype):
    originals = images(channels, dtype)
    store = ImageStore(list(originals), device)
    assert store.pixels.dtype == dtype and store.sizes == list(SIZES)
    turns = [(x, y, t) for x in (False, True) for y in (False, True) for t in (False, True)]
    for side in (1, 4, 5):
        crops = [Crop(number, top, left, side, *turn) for number, (height, width) in enumerate(SIZES)
                 for top in {0, height - side} for left in {0, width - side} for turn in turns]
        batch = store.crops(crops)
        assert batch.dtype == torch.float32 and batch.is_contiguous()
        for ours, crop in zip(batch, crops, strict=True):
            assert torch.equal(ours.cpu(), expected(originals[crop.image], crop))


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def test_each_of_the_256_values_is_divided_as_numpy_divides(device):
    store = ImageStore([torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1)], device)
    expected = np.arange(256, dtype=np.uint8).astype(np.float32) / 255
    assert np.array_equal(store.crops([Crop(0, 0, 0, 16)]).cpu().numpy().ravel(), expected)


def test_images_of_8_bits_among_others_keep_their_values():
    eight, other = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3), torch.rand(2, 2, 3)
    store = ImageStore([eight, other])
    crops = store.crops([Crop(0, 0, 0, 2), Crop(1, 0, 0, 2)])
    assert torch.equal(crops[0], expected(eight, Crop(0, 0, 0, 2))) and torch.equal(crops[1], other.permute(2, 0, 1))


def test_the_list_is_emptied():
    given = images()
    ImageStore(given)
    assert given == []


@pytest.mark.parametrize('hflip', [False, True])
@pytest.mark.parametrize('rotation', [False, True])
def test_draws_are_basicsrs(hflip, rotation):
    rng = np.random.default_rng(0)
    gt, lq = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((26, 18), (13, 9)))
    lqs, gts = ImageStore([torch.from_numpy(lq.copy())]), ImageStore([torch.from_numpy(gt.copy())])
    for seed in range(40):
        random.seed(seed)
        gt_part, lq_part = paired_random_crop(gt.copy(), lq.copy(), 8, 2, 'x')
        gt_part, lq_part = augment([gt_part, lq_part], hflip, rotation)
        crop = draw_crop(random.Random(seed), 0, (13, 9), 4, hflip, rotation)
        for store, place, part in ((lqs, crop, lq_part), (gts, crop.times(2), gt_part)):
            theirs = torch.from_numpy(part.astype(np.float32) / 255).permute(2, 0, 1)
            assert torch.equal(store.crops([place])[0], theirs)
