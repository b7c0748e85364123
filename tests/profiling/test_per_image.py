"""Figures averaged over images of several sizes."""
import pytest
import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling.per_image import averaged, mean, pooled_time, profile_images, sizes_line
from basicsr_amsr.profiling.side_by_side import profile_networks


class Bright(nn.Module):
    """A 1×1 convolution on the pixels above `least`; another layer where they are less than half."""

    def __init__(self, least):
        super().__init__()
        self.conv = nn.Linear(3, 3, bias=False)
        self.rare = nn.Linear(3, 3, bias=False)
        self.least = least

    def forward(self, x):
        chosen = x.mean(1) > self.least
        self.last_keep = chosen.float().mean().item()
        out = x.permute(0, 2, 3, 1).clone()
        pixels = self.conv(out[chosen])
        out[chosen] = pixels if self.last_keep >= 0.5 else self.rare(pixels)
        return out.permute(0, 3, 1, 2)


def image(height, width, bright):
    x = torch.zeros(1, 3, height, width)
    x[:, :, :, :bright] = 1
    return x


IMAGES = [('a.png', image(10, 10, 8)), ('b.png', image(6, 10, 2)), ('c.png', image(6, 10, 2))]


def test_means_hold_each_image_at_its_size_and_mask():
    stages = []
    result = profile_images({'some': Bright(0.5), 'all': Bright(-1.0)}, iter(IMAGES), 3, 'all', timing=False,
                            memory=False, progress=stages.append)
    some, whole = result['some'], result['all']
    macs = [80 * 9, 2 * 12 * 9, 2 * 12 * 9]
    assert [one['macs'] for one in some['images']] == macs
    assert some['macs'] == sum(macs) / 3 and whole['macs'] == (100 + 60 + 60) * 9 / 3
    assert some['keep'] == pytest.approx((0.8 + 0.2 + 0.2) / 3)
    assert [(one['name'], one['size'], one['output_size']) for one in some['images']] == [
        ('a.png', [10, 10], [10, 10]), ('b.png', [6, 10], [6, 10]), ('c.png', [6, 10], [6, 10])]
    assert some['output_size'] is None and some['latency_ms'] is None and some['params'] == 18
    assert some['ratios']['ideal'] == pytest.approx(220 * 9 / sum(macs))
    assert some['ratios']['speed_up'] is None
    # A module that ran in some of the images only.
    assert some['by_module']['rare']['macs'] == 2 * 12 * 9 / 3
    assert some['by_module']['rare']['share']['macs'] == pytest.approx(2 * 12 * 9 / sum(macs))
    assert some['by_module']['rare']['type'] == 'Linear' and 'rare' not in whole['by_module']
    assert sum(row['share']['macs'] for row in some['by_operator'].values()) == pytest.approx(1)
    assert stages[0] == 'image 1 of 3: counting some' and stages[-1].startswith('image 3 of 3')


def test_one_image_is_the_profile_of_it():
    nets = {'net': Bright(0.5)}
    plain = profile_networks(nets, IMAGES[0][1], timing=False)['net']
    many = profile_images(nets, IMAGES[:1], 1, timing=False)['net']
    del many['images']
    assert many == plain


def test_time_of_all_images_keeps_the_pairs():
    def timed(median, ratio):
        return {'latency_ms': {'median': median}, 'ratios': {'time_share': ratio}}

    assert pooled_time([timed(1, 0.5), timed(9, 0.9)], [timed(10, 1.0), timed(30, 1.0)]) == (5 + 27) / 40
    assert pooled_time([{'latency_ms': None}], [{'latency_ms': None}]) is None


def test_peak_memory_is_the_largest():
    one = {'peak_memory_mb': 2.0, 'params': 1, 'macs': 1, 'activations': 0, 'by_module': {}, 'by_operator': {}}
    assert averaged([one, {**one, 'peak_memory_mb': 5.0}])['peak_memory_mb'] == 5.0
    assert averaged([one, {**one, 'peak_memory_mb': None}])['peak_memory_mb'] is None


@pytest.mark.parametrize('values, expected', [
    ([1, 3], 2), ([1, 2], 1.5), (['a', 'a'], 'a'), ([[1], [2]], None), ([None, None], None),
    ([{'a': 2}, {'b': {'c': 4, 'd': 'word'}}], {'a': 1, 'b': {'c': 2, 'd': 'word'}})])
def test_mean(values, expected):
    assert mean(values) == expected


def test_sizes_are_named():
    images = [{'size': [8, 9]}] * 2 + [{'size': [7, 9]}] * 3 + [{'size': [side, 1]} for side in range(1, 7)]
    assert sizes_line(images[:5]) == '3 of 7x9, 2 of 8x9'
    assert sizes_line(images) == '3 of 7x9, 2 of 8x9, 1 of 1x1, 1 of 2x1, 1 of 3x1, 1 of 4x1, 2 of other sizes'


def test_mistakes_name_the_image():
    with pytest.raises(UserError, match=r'^b\.png: net does not take an input of 4x4'):
        profile_images({'net': Bright(0.5)}, [IMAGES[0], ('b.png', torch.zeros(1, 2, 4, 4))], 2, timing=False)
    with pytest.raises(UserError, match='no image'):
        profile_images({'net': Bright(0.5)}, [], 0)
