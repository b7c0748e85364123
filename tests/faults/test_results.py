"""Figures and images of every test image: none lost, none that is no number, and a line for what cannot be computed."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import METRICS, options_to_test, options_to_train, pairs, write_images
from tests.faults.lines import mistake


def test_images_of_one_name_get_files_of_their_own(basicsr):
    for folder in 'ab':
        write_images(Path('deep', folder), 'x', 16)
    cv2.imwrite('deep/b/x.jpg', np.zeros((16, 16, 3), np.uint8))
    options = options_to_test()
    options['datasets'] = {'test': {'type': 'BicubicPairedImageDataset', 'name': 'S', 'dataroot_gt': 'deep',
                                    'recursive': True}}
    assert basicsr('test', options)[0] == 0
    folder = Path('results/tiny/visualization/S')
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob('*.png')) == [
        'b/x (2)_tiny.png', 'b/x_tiny.png', 'x_tiny.png']
    assert sorted(json.loads(Path('results/tiny/metrics.json').read_text())['S']['psnr']['images']) == [
        'b/x', 'b/x (2)', 'x']


def test_images_of_one_name_in_a_training(basicsr):
    for folder in 'ab':
        write_images(Path('deep', folder), 'x', 16)
    options = options_to_train(val={'val_freq': 2, 'save_img': True})
    options['datasets']['val'] = {'type': 'BicubicPairedImageDataset', 'dataroot_gt': ['deep/a', 'deep/b']}
    assert basicsr('train', options)[0] == 0
    folder = Path('experiments/tiny/visualization')
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob('*.png')) == ['b/x/x_2.png', 'x/x_2.png']


@pytest.mark.parametrize(('metric', 'size', 'part'), [
    ({'type': 'calculate_niqe', 'crop_border': 0}, 144, 'calculate_niqe'),
    ({'type': 'calculate_psnr', 'crop_border': 16}, 32, 'crop_border 16 leaves nothing of the image'),
    ({'type': 'calculate_ssim', 'crop_border': 40}, 32, 'crop_border 40 leaves nothing of the image'),
    ({'type': 'calculate_ssim', 'crop_border': 12}, 32, 'calculate_ssim')])
def test_images_too_small_for_a_metric(basicsr, metric, size, part):
    write_images(Path('small/gt'), 'a', size)
    write_images(Path('small/lq'), 'a', size // 2)
    options = options_to_test(val={'save_img': False, 'metrics': {'it': metric}})
    options['datasets']['test_1'].update(dataroot_gt='small/gt', dataroot_lq='small/lq')
    line = mistake(basicsr, 'test', options)
    assert 'small/gt/a.png' in line and f'{size}x{size}' in line and part in line, line


def test_a_training_is_told_before_it_starts(basicsr):
    options = options_to_train(val={'val_freq': 2, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 16}}})
    options['datasets']['val'] = pairs(name='V')
    line = mistake(basicsr, 'train', options)
    assert 'data/gt/a.png' in line and 'crop_border 16 leaves nothing' in line


@pytest.mark.parametrize(('shape', 'part'), [((31, 32, 3), '31x32'), ((64, 64, 3), '64x64')])
@pytest.mark.parametrize('command', ['test', 'train'])
def test_a_pair_of_other_sizes(basicsr, command, shape, part):
    cv2.imwrite('data/gt/b.png', np.zeros(shape, np.uint8))
    if command == 'test':
        line = mistake(basicsr, 'test', options_to_test(val={'save_img': True, 'metrics': METRICS}))
    else:
        options = options_to_train()
        options['train']['total_iter'] = 9
        code, _, err = basicsr('train', options)
        assert code == 2
        line = err.splitlines()[-1]
    assert all(word in line for word in ('data/gt/b.png', 'data/lq/b.png', part, '16x16', 'scale 2')), line
    assert line.count('datasets: ') == 1, line


def test_ground_truth_that_the_scale_does_not_divide_is_cropped(basicsr):
    cv2.imwrite('data/gt/b.png', np.zeros((33, 33, 3), np.uint8))
    assert basicsr('test', options_to_test())[0] == 0
