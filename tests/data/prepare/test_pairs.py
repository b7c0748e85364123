"""The check of pairs that exist, and the layouts it knows."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from basicsr_amsr import UserError
from basicsr_amsr.data.prepare import layouts, pairs
from basicsr_amsr.data.prepare.carry_out import run
from tests.data.prepare.conftest import unwatched, write


def images(folder: Path, names, size, suffix='.png') -> Path:
    for index, name in enumerate(names):
        write(folder / f'{name}{suffix}', (*size, 3), index)
    return folder


def check(hr, lr, scale=4, template=None, workers=1) -> list[str]:
    lrs = {scale: lr} if lr else {}
    templates = {scale: template or pairs.detect_template(hr, lr, scale)} if lr else {}
    return pairs.check(hr, lrs, templates, workers, unwatched).problems


@pytest.fixture
def div2k(tmp_path) -> Path:
    """DIV2K's layout with three images at scales 2 and 4."""
    names = ['0001', '0002', '0003']
    images(tmp_path / 'DIV2K/DIV2K_train_HR', names, (24, 32))
    for scale in (2, 4):
        images(tmp_path / f'DIV2K/DIV2K_train_LR_bicubic/X{scale}', [f'{name}x{scale}' for name in names],
               (24 // scale, 32 // scale))
    return tmp_path / 'DIV2K'


@pytest.mark.parametrize('workers', [1, 2])
def test_div2k_is_in_order(div2k, workers):
    hr = layouts.find_hr(div2k)
    assert hr == div2k / 'DIV2K_train_HR' and layouts.find_scales(hr, None) == (2, 4)
    lrs = {scale: layouts.find_lr(hr, None, scale) for scale in (2, 4)}
    templates = {scale: pairs.detect_template(hr, lr, scale) for scale, lr in lrs.items()}
    assert templates == {2: '{}x2', 4: '{}x4'}
    found = pairs.check(hr, lrs, templates, workers, unwatched)
    assert (found.problems, found.images, found.pairs, found.smallest, found.pixels) == ([], 3, 6, 24, 3 * 24 * 32)


@pytest.mark.parametrize(('hr', 'lr', 'scale', 'template'), [
    ('Flickr2K/Flickr2K_HR', 'Flickr2K/Flickr2K_LR_bicubic/X3', 3, '{}x3'),
    ('DIV2K/DIV2K_train_HR_sub', 'DIV2K/DIV2K_train_LR_bicubic/X2_sub', 2, '{}'),
    ('Set5/GTmod12', 'Set5/LRbicx4', 4, '{}'),
    ('Set5/HR', 'Set5/LR_bicubic/X4', 4, '{}x4'),
    ('Mine/HR', 'Mine/LR', 4, '{}'),
    ('Mine/HR', 'Mine/LR/x4', 4, '{}_x4'),
    ('Mine/GT', 'Mine/LR_x2', 2, '{}'),
])
def test_layouts(tmp_path, hr, lr, scale, template):
    images(tmp_path / hr, ['a', 'b2'], (12, 24))
    images(tmp_path / lr, [template.format('a'), template.format('b2')], (12 // scale, 24 // scale))
    found = layouts.find_hr((tmp_path / hr).parent)
    assert found == tmp_path / hr
    assert layouts.find_lr(found, None, scale) == tmp_path / lr
    assert layouts.find_lr(found, (tmp_path / lr).parent, scale) == tmp_path / lr or lr == 'Mine/LR'
    assert layouts.find_lr(found, tmp_path / lr, scale) == tmp_path / lr
    assert layouts.find_lr(found, None, 8) in (None, tmp_path / 'Mine/LR')
    assert pairs.detect_template(found, tmp_path / lr, scale) == template
    assert check(found, tmp_path / lr, scale) == []


def test_several_hr_folders(tmp_path):
    images(tmp_path / 'DIV2K_train_HR', ['a'], (8, 8))
    images(tmp_path / 'DIV2K_valid_HR', ['a'], (8, 8))
    assert layouts.find_hr(tmp_path).name == 'DIV2K_train_HR'
    images(tmp_path / 'Flickr2K_train_HR', ['a'], (8, 8))
    with pytest.raises(UserError, match='DIV2K_train_HR, DIV2K_valid_HR, Flickr2K_train_HR'):
        layouts.find_hr(tmp_path)


def test_first_missing_pair_and_their_number(div2k):
    hr, lr = div2k / 'DIV2K_train_HR', div2k / 'DIV2K_train_LR_bicubic/X4'
    (lr / '0003x4.png').unlink()
    (lr / '0002x4.png').unlink()
    problems = check(hr, lr)
    assert problems == [f"'{hr / name}.png' has no LR image: '{lr / name}x4.png' is missing." for name in
                        ('0002', '0003')]
    found = pairs.check(hr, {4: lr}, {4: '{}x4'}, 1, unwatched)
    assert found.line().endswith("0002x4.png' is missing. (2 problems in 3 pairs)")


def test_wrong_size_names_both_sizes(div2k):
    hr, lr = div2k / 'DIV2K_train_HR', div2k / 'DIV2K_train_LR_bicubic/X4'
    write(lr / '0002x4.png', (6, 7, 3))
    assert check(hr, lr) == [f"'{hr}/0002.png' is 24x32 and '{lr}/0002x4.png' 6x7: at scale 4 HR must be 24x28."]


def test_hr_that_is_not_cropped_gets_the_remedy(div2k):
    hr, lr = div2k / 'DIV2K_train_HR', div2k / 'DIV2K_train_LR_bicubic/X4'
    write(hr / '0001.png', (26, 33, 3))
    (line,) = check(hr, lr)
    assert "0001.png' is 26x33" in line and 'must be 24x32; `basicsr prepare' in line


def test_other_suffix_and_images_without_partner(div2k):
    hr, lr = div2k / 'DIV2K_train_HR', div2k / 'DIV2K_train_LR_bicubic/X4'
    (lr / '0001x4.png').unlink()
    images(lr, ['0001x4'], (6, 8), '.jpg')
    images(lr, ['0009x4'], (6, 8))
    first, second = check(hr, lr)
    assert 'there is 0001x4.jpg, but BasicSR looks for the suffix of the HR image' in first
    assert second == f"'{lr}/0009x4.png' has no HR image in '{hr}'; BasicSR wants as many LR as HR images."


def test_broken_and_transparent_images(div2k):
    hr, lr = div2k / 'DIV2K_train_HR', div2k / 'DIV2K_train_LR_bicubic/X4'
    (hr / '0003.png').write_bytes((hr / '0003.png').read_bytes()[:99])
    assert cv2.imwrite(str(lr / '0001x4.png'), np.zeros((6, 8, 4), np.uint8))
    (lr / '0002x4.png').write_bytes(b'')
    first, second, third = check(hr, lr)
    assert '0001x4.png' in first and 'transparent' in first
    assert "0002x4.png' is empty" in second and "0003.png' is broken" in third


def test_hr_alone(div2k):
    assert check(div2k / 'DIV2K_train_HR', None) == []
    (div2k / 'DIV2K_train_HR/0002.png').write_bytes(b'x')
    assert '0002.png' in check(div2k / 'DIV2K_train_HR', None)[0]


def test_lmdb(make):
    settings = make(crop=24, lmdb=True)
    run(settings, 1, unwatched)
    hr, lr = settings.targets[1], settings.targets[2]
    assert layouts.find_hr(settings.out) == hr and layouts.find_scales(hr, None) == (2, 3)
    assert layouts.find_lr(hr, None, 2) == lr
    assert check(hr, lr, 2) == []
    assert '12x12: at scale 3 HR must be 36x36' in check(hr, lr, 3)[0]
    lines = (lr / 'meta_info.txt').read_text().splitlines()
    (lr / 'meta_info.txt').write_text('\n'.join([*lines[1:], 'absent.png (12,12,3) 1']) + '\n')
    missing, extra = check(hr, lr, 2)
    assert f"'{hr}/a_s001' has no LR image: '{lr}/a_s001' is missing." == missing and 'absent' in extra
