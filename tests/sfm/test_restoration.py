"""What is recorded of models whose answer is known."""
import math

import pytest
import torch

from basicsr_amsr.data.degradations.blur import GaussianBlur
from basicsr_amsr.errors import UserError
from basicsr_amsr.sfm.conditions import condition, of_values
from basicsr_amsr.sfm.restoration import INPUT, REFERENCE, restore
from basicsr_amsr.sfm.restoration_picture import draw
from basicsr_amsr.sfm.spectrum import band_power

BLUR, NOISE, JPEG = {'type': 'GaussianBlur', 'sigma': 1.5}, {'type': 'GaussianNoise', 'sigma': 5}, {'type': 'JPEG',
                                                                                                    'quality': 40}


class Model:
    """Gives what `answer` makes of the input."""

    def __init__(self, answer):
        self.answer = answer

    def feed_data(self, data):
        self.lq = data['lq']

    def test(self):
        self.output = self.answer(self.lq)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return {name: (torch.rand(3, *size, generator=generator) * 255).round() / 255
            for name, size in (('a', (24, 32)), ('b', (40, 28)))}


def test_a_model_that_knows_the_truth_and_one_that_does_nothing(images):
    clean = iter(images.values())
    report = restore({'knows': Model(lambda x: next(clean)[None]), 'idle': Model(lambda x: x)},
                     of_values('noise', [20.0], 1, 'bicubic'), images, bands=10)
    (found,) = report['conditions']
    assert found['psnr']['knows'] == math.inf and found['psnr']['idle'] == found['psnr'][INPUT]
    assert found['power']['knows'] == found['power'][REFERENCE] and max(found['error']['knows']) == 0
    assert found['power']['idle'] == found['power'][INPUT] and min(found['error']['idle']) > 0
    assert report['images'] == ['a', 'b'] and len(report['frequencies']) == 10


def test_power_is_that_of_the_luma_and_the_mean_over_images(images):
    (found,) = restore({}, [condition('own', None, 'clean', [], 1, 'bicubic')], images, bands=6)['conditions']
    weights = torch.tensor([65.481, 128.553, 24.966])[:, None, None]
    expected = torch.stack([band_power((image * weights).sum(0) + 16, 6) for image in images.values()]).mean(0)
    power = torch.tensor(found['power'][REFERENCE], dtype=torch.float64)
    torch.testing.assert_close(power, expected, rtol=1e-4, atol=1e-3)


def test_noise_is_the_same_for_all_models_and_levels_follow_it(images):
    seen = []
    spy = Model(lambda x: seen.append(x.clone()) or x)
    restore({'one': spy, 'two': spy}, of_values('noise', [10.0, 20.0], 1, 'bicubic'), {'a': images['a'] * 0 + 0.5})
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])
    torch.testing.assert_close((seen[2] - 0.5), 2 * (seen[0] - 0.5), rtol=0, atol=1e-6)


def test_super_resolution_is_filtered_then_shrunk(images):
    seen = []
    model = Model(lambda x: seen.append(x) or torch.zeros(1, 3, x.shape[2] * 2, x.shape[3] * 2))
    (found,) = restore({'black': model}, of_values('blur', [1.5], 2, 'subsample'), {'a': images['a']}, 8)['conditions']
    blurred = GaussianBlur(1.5)(images['a'])
    assert torch.equal(seen[0][0], blurred[:, ::2, ::2])
    assert found['blurred'] and found['power'][INPUT][-1] < found['power'][REFERENCE][-1] / 10
    assert found['psnr'].keys() == {INPUT, 'black'} and found['psnr']['black'] < 10


@pytest.mark.parametrize(('steps', 'before', 'after'), [
    ([], 0, 1), ([BLUR], 1, 1), ([NOISE], 0, 2), ([BLUR, NOISE, JPEG], 1, 3), ([BLUR, NOISE, BLUR], 3, 1),
    ([NOISE, {'type': 'Downscale', 'scale': 2}, JPEG], 1, 2)])
def test_where_the_downscaling_stands(steps, before, after):
    found = condition('own', None, 'x', steps, 2, 'bicubic')
    assert (len(found.before), len(found.after)) == (before, after) and found.after[0].scale == 2


def test_another_scale_than_the_networks():
    with pytest.raises(UserError, match='it shrinks by 2, but the network enlarges by 4'):
        condition('own', None, 'x', [{'type': 'Downscale', 'scale': 2}], 4, 'bicubic')
    with pytest.raises(UserError, match='it shrinks by 2, but the network enlarges by 1'):
        condition('own', None, 'x', [{'type': 'Downscale', 'scale': 2}], 1, 'bicubic')


def test_the_picture_is_drawn(images, tmp_path):
    conditions = [*of_values('blur', [0.8, 1.6], 1, 'bicubic'), *of_values('jpeg', [30.0], 1, 'bicubic')]
    draw(restore({'idle': Model(lambda x: x)}, conditions, images, 12), tmp_path / 'x.png')
    assert (tmp_path / 'x.png').read_bytes().startswith(b'\x89PNG')
