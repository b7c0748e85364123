"""LR images of the measured sizes."""
import cv2
import numpy as np
import pytest
import torch

from basicsr_amsr.bench.images import Images
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.errors import UserError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (('a', (8, 8)), ('b', (40, 60)), ('c', (60, 40)), ('d', (50, 70)), ('e', (50, 70))):
        cv2.imwrite(str(tmp_path / f'{name}.png'), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return tmp_path


def test_centre_crops_of_the_first_images_that_are_large_enough(folder):
    crops = Images(str(folder), most=2).crops((30, 50), 3, 4)
    assert [name for name, _ in crops] == ['b.png', 'd.png']
    pixels = cv2.imread(str(folder / 'b.png'))[5:35, 5:55, ::-1]
    np.testing.assert_array_equal((crops[0][1][0].permute(1, 2, 0) * 255).round().numpy(), pixels)


def test_lr_images_are_made_of_hr_ones(folder):
    images = Images(str(folder), most=9, high=True)
    crops = images.crops((20, 30), 3, 2)
    assert [name for name, _ in crops] == ['b.png', 'd.png', 'e.png']
    small = downscale(cv2.imread(str(folder / 'd.png')), 2)[2:22, 2:32, ::-1]
    np.testing.assert_array_equal((crops[1][1][0].permute(1, 2, 0) * 255).round().numpy(), small)
    assert images.source == f'bicubic LR images of {folder}'


def test_gray(folder):
    assert Images(str(folder)).crops((8, 8), 1, 2)[0][1].shape == (1, 1, 8, 8)


def test_noise_says_that_it_is_noise():
    images = Images()
    (name, x), = images.crops((5, 7), 1, 2)
    assert (name, images.source, x.shape) == ('noise', 'noise', (1, 1, 5, 7))
    assert x.min() >= 0 and x.max() <= 1 and torch.equal(x, Images().crops((5, 7), 1, 2)[0][1])
    images.check((9999, 9999), 4)


@pytest.mark.parametrize('images, size, message', [
    (Images('{}'), (51, 70), r'--size 51x70: no image of .* is 51x70 or larger \(d.png is 50x70\)'),
    (Images('{}', high=True), (20, 20), r'--size 20x20: no image of .* is 80x80 HR or larger \(d.png is 50x70\)'),
    (Images('{}/absent'), (1, 1), "absent' is not there"),
])
def test_sizes_that_no_image_has_are_refused(folder, images, size, message):
    images = Images(images.folder.format(folder), high=images.high)
    with pytest.raises(UserError, match=message):
        images.check(size, 4)
