"""`basicsr calibrate`: writes the file that `basicsr test` takes."""
import errno
import json
import os
from pathlib import Path

import pytest
import torch

from basicsr_amsr.amsr.amsr_network import AMSR
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.backbones import get_backbone
from tests.cli.conftest import error_line, options_to_test, write_images


@pytest.fixture
def options(project):
    torch.manual_seed(0)
    torch.save(get_backbone('EDSR').create(upscale=2, num_feat=8, num_block=1).state_dict(), 'edsr.pth')
    write_images(Path('photos'), ['a', 'b', 'c', 'd'], 96)
    return options_to_test(path={'pretrain_network_g': 'edsr.pth'}, network_g={
        'type': 'AMSR', 'backbone': {'type': 'EDSR', 'num_feat': 8, 'num_block': 1},
        'selection': {'keep': 0.5, 'patch_size': 4}})


def test_the_file_is_written_and_used(basicsr, options):
    code, out, err = basicsr('calibrate', options, '--images', 'photos', '--downscale')
    assert code == 0, err
    assert 'edsr.amsr: ' in out and 'against dense' in out
    assert 'fitted to 4 images. Fitted to 3 of them' in out
    assert Calibration.load('edsr.amsr').fit.images == 4  # what is measured on is fitted to in the end
    options['network_g']['calibration'] = 'edsr.amsr'
    code, _, err = basicsr('test', options)
    assert code == 0, err
    figures = json.loads(next(Path('results').glob('*/metrics.json')).read_text())
    assert 'psnr' in json.dumps(figures)


def test_a_checkpoint_needs_no_option_file(basicsr, options):
    code, out, err = basicsr('calibrate', None, '--weights', 'edsr.pth', '--images', 'photos', '--downscale')
    assert code == 0, err
    assert 'edsr.amsr: ' in out and 'against dense' in out  # scale and channels are found
    assert Calibration.load('edsr.amsr').fit.images == 4
    for flags, line in ((('--weights', 'other.pth'), "No weights 'other.pth'"), (('-n', 'RFDN'), "No weights 'RFDN'"),
                        (('--weights', 'edsr.pth', '--force_yml', 'scale=3'), '--force_yml changes an option file')):
        code, _, err = basicsr('calibrate', None, *flags, '--images', 'photos')
        assert code != 0 and line in error_line(err)


def test_flags_change_the_selection_and_the_name(basicsr, options):
    options['network_g']['calibration'] = 'own.amsr'  # not there yet
    code, out, err = basicsr('calibrate', options, '--images', 'photos', '--keep', '0.25', '--patch-size', '8')
    assert code == 0, err
    selection = Calibration.load('own.amsr').fit.selection
    assert selection.level > 0 and (selection.keep, selection.patch_size) == (None, 8)
    assert 'to the dense image' in out and 'against dense' not in out


def test_the_same_share_of_each_image(basicsr, options):
    code, _, err = basicsr('calibrate', options, '--images', 'photos', '--keep', '0.25', '--each-image')
    assert code == 0, err
    selection = Calibration.load('edsr.amsr').fit.selection
    assert (selection.keep, selection.level) == (0.25, None)


def test_keep_is_an_option_of_the_network(basicsr, options):
    code, _, err = basicsr('calibrate', options, '--images', 'photos')
    assert code == 0, err
    options['network_g'] |= {'calibration': 'edsr.amsr', 'selection': None}
    code, _, err = basicsr('test', options, '--force_yml', 'network_g:keep=0.3')
    assert code == 0, err
    backbone = {**options['network_g']['backbone'], 'upscale': 2}
    levels = [AMSR(backbone, calibration='edsr.amsr', keep=keep).amsr.selection.level for keep in (0.3, 0.9)]
    assert levels == [Calibration.load('edsr.amsr').selection(keep).level for keep in (0.3, 0.9)]
    assert levels[0] > levels[1]


@pytest.mark.parametrize(('network', 'line'), [
    ({'keep': 0.5}, 'keep is 0.5, but there is no calibration'), ({'keep': 1.5}, 'keep'),
    ({'keep': 0.5, 'calibration': 'edsr.amsr'}, 'keep and selection both say'),
    ({'keep': 0.5, 'calibration': 'edsr.amsr', 'selection': None, 'budget': 0.5}, 'keep and budget both say'),
])
def test_mistakes_with_keep_are_one_line(basicsr, options, network, line):
    code, _, err = basicsr('calibrate', options, '--images', 'photos')
    assert code == 0, err
    options['network_g'] |= network
    code, _, err = basicsr('test', options)
    assert code == 2 and line in error_line(err)


def test_the_smallest_keep_within_a_loss(basicsr, options):
    code, out, err = basicsr('calibrate', options, '--images', 'photos', '--downscale', '--max-loss', '50',
                             '--each-image')
    assert code == 0, err
    assert Calibration.load('edsr.amsr').fit.selection.keep == 0.1
    assert out.count('of the MACs') == 6  # half, half of the rest …, and the result


def test_the_smallest_share_of_all_images_within_a_loss(basicsr, options):
    code, out, err = basicsr('calibrate', options, '--images', 'photos', '--downscale', '--max-loss', '50')
    assert code == 0, err
    calibration = Calibration.load('edsr.amsr')
    selection = calibration.fit.selection
    assert selection.keep is None and selection.level == calibration.selection(0.1).level
    assert out.count('of the MACs') == 6


def test_several_folders(basicsr, options):
    write_images(Path('more'), ['a', 'b'], 96)
    code, _, err = basicsr('calibrate', options, '--images', 'photos', 'more')
    assert code == 0, err
    assert Calibration.load('edsr.amsr').fit.images == 6


@pytest.mark.parametrize(('words', 'line'), [
    (('--images', 'gone'), "Folder 'gone' is not there"),
    (('--images', 'photos', '--max-loss', '0.1'), '--max-loss 0.1 needs ground truth'),
    (('--images', 'photos', '--downscale', '--max-loss', '0.1', '--keep', '0.5'),
     '--keep: not allowed with argument --max-loss'),
    (('--images', 'photos', '--keep', '1.5'), 'keep is 1.5'),
    (('--images', 'photos', '--max-images', '1'), '--max-images 1'),
    (('--images', 'data/lq', '--downscale'), 'at least 32 pixels'),
    (('--images', 'photos', '-o', 'gone/x.amsr'), 'there is no folder gone'),
])
def test_mistakes_are_one_line(basicsr, options, words, line):
    code, _, err = basicsr('calibrate', options, *words)
    assert code == 2
    assert line in error_line(err)
    assert not list(Path().glob('*.amsr'))


def test_a_file_is_replaced_only_when_it_is_named(basicsr, options):
    Path('edsr.amsr').write_text('precious')
    code, _, err = basicsr('calibrate', options, '--images', 'photos')
    assert code == 2 and 'edsr.amsr is there already' in error_line(err)
    assert Path('edsr.amsr').read_text() == 'precious'
    code, _, err = basicsr('calibrate', options, '--images', 'photos', '-o', 'edsr.amsr')
    assert code == 0, err
    Calibration.load('edsr.amsr')


def test_a_full_disk_is_one_line_and_loses_nothing(basicsr, options, monkeypatch):
    Path('edsr.amsr').write_text('precious')

    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr('basicsr_amsr.files.write_whole', full)
    code, _, err = basicsr('calibrate', options, '--images', 'photos', '-o', 'edsr.amsr')
    assert code == 2 and "Cannot write 'edsr.amsr': No space left on device" in error_line(err)
    assert Path('edsr.amsr').read_text() == 'precious'


def test_weights_are_needed(basicsr, options):
    options['path'] = {}
    code, _, err = basicsr('calibrate', options, '--images', 'photos')
    assert code == 2
    assert 'pretrain_network_g' in error_line(err)


def test_an_absent_calibration_is_one_line(basicsr, options):
    options['network_g']['calibration'] = 'gone.amsr'
    code, _, err = basicsr('test', options)
    assert code == 2
    assert 'gone.amsr' in error_line(err)
