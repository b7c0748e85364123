"""Files and folders that cannot be read or written, whatever command meets them."""
import os
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from tests.cli.conftest import NETWORK, options_to_test, options_to_train, write_images
from tests.faults.lines import mistake


@pytest.fixture
def with_weights(project):
    """Options with weights, for freq and calibrate."""
    torch.save({'params': build_network(dict(NETWORK)).state_dict()}, 'weights.pth')
    return options_to_test(path={'pretrain_network_g': 'weights.pth'})


def test_a_file_where_a_folder_is_wanted(basicsr):
    Path('experiments').write_text('')
    assert 'experiments is a file where a folder is wanted' in mistake(basicsr, 'train', options_to_train())
    Path('results').write_text('')
    assert 'results is a file where a folder is wanted' in mistake(basicsr, 'test', options_to_test())


def test_a_name_that_no_file_can_have(basicsr):
    options = options_to_test()
    options['datasets']['test_1']['dataroot_gt'] = 'ä' * 300
    assert 'file name too long' in mistake(basicsr, 'test', options)


def test_a_link_to_nowhere(basicsr):
    os.symlink('nowhere/deep', 'results')
    assert 'results is a link to nowhere/deep, which is not there' in mistake(basicsr, 'test', options_to_test())


@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='permissions do not bind this user')
def test_a_folder_that_may_not_be_written(basicsr):
    Path('experiments').mkdir(mode=0o500)
    assert 'permission denied' in mistake(basicsr, 'train', options_to_train())


def test_a_picture_that_cannot_be_written(basicsr, with_weights):
    Path('curve.png').mkdir()
    line = mistake(basicsr, 'freq', with_weights, '--images', 'data/gt', '--out', 'curve', '--bands', '4')
    assert line == "Cannot write 'curve.png': Is a directory."


@pytest.mark.parametrize('command', ['test', 'prepare', 'calibrate', 'freq'])
def test_an_image_that_is_a_link_to_nowhere(basicsr, with_weights, command):
    os.symlink('nowhere.png', 'data/gt/link.png')
    if command == 'test':
        with_weights['datasets'] = {'test': {'type': 'BicubicPairedImageDataset', 'dataroot_gt': 'data/gt'}}
    words = {'test': (), 'prepare': ('--hr', 'data/gt', '--out', 'out', '--scale', '2'),
             'calibrate': ('--images', 'data/gt'), 'freq': ('--images', 'data/gt')}[command]
    line = mistake(basicsr, command, None if command == 'prepare' else with_weights, *words)
    assert 'link.png' in line and 'a link to a file that is not there' in line and 'data/gt' in line


def test_calibrate_says_how_large_an_image_is(basicsr, with_weights):
    write_images(Path('small'), 'ab', 1)
    with_weights['network_g'] = {**NETWORK}
    line = mistake(basicsr, 'calibrate', with_weights, '--images', 'small', '--downscale', '-o', 'c.amsr')
    assert "Image 'small/a.png' is 1x1: at least 32 pixels of each side are needed." in line
