"""What is written: against the downscaler, against BasicSR's tools, and read by BasicSR's dataset."""
from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from basicsr_amsr import UserError
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import read_image
from basicsr_amsr.data.prepare.carry_out import run
from basicsr_amsr.data.prepare.settings import HR
from basicsr_amsr.data.prepare.train_options import of_prepared
from tests.data.prepare.conftest import SIZES, lmdb_content, read, tree, unwatched, write


def prepare(settings, workers=1, **more):
    return run(settings, workers, unwatched, **more)


def test_whole_images(make, hr):
    settings = make()
    report = prepare(settings)
    assert (report.images, report.prepared, report.files()) == (3, 3, 3)
    for name, (height, width, channels) in SIZES.items():
        whole = read(hr / f'{name}.png')[:height // 6 * 6, :width // 6 * 6]
        np.testing.assert_array_equal(read(settings.targets[HR] / f'{name}.png'), whole)
        for scale in (2, 3):
            low = read(settings.targets[scale] / f'{name}.png')
            assert low.shape == (whole.shape[0] // scale, whole.shape[1] // scale, channels)
            np.testing.assert_array_equal(low, downscale(whole, scale))
    assert settings.meta_info_file.read_text() == 'a.png (48,60,3)\nb.png (60,72,3)\nc.png (36,90,1)\n'


@pytest.mark.parametrize('lmdb', [False, True])
def test_sub_images_are_cut_from_whole_lr_images(make, hr, lmdb):
    settings = make(crop=24, step=12, lmdb=lmdb)
    prepare(settings)
    for name in SIZES:
        img = read_image(hr / f'{name}.png', gray=None)
        whole = img[:img.shape[0] // 6 * 6, :img.shape[1] // 6 * 6]
        rows, columns = (list(range(0, size - 24 + 1, 12)) for size in whole.shape[:2])
        rows += [whole.shape[0] - 24] if whole.shape[0] > rows[-1] + 24 else []
        columns += [whole.shape[1] - 24] if whole.shape[1] > columns[-1] + 24 else []
        places = [(y, x) for y in rows for x in columns]
        for side in (1, 2, 3):
            low = whole if side == 1 else downscale(whole, side)
            content = {key: cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_UNCHANGED) for key, value in
                       lmdb_content(settings.targets[side]).items()} if lmdb else {
                           path.stem: read(path) for path in settings.targets[side].iterdir()}
            assert sum(key.startswith(f'{name}_s') for key in content) == len(places)
            for index, (y, x) in enumerate(places):
                part = low[y // side:(y + 24) // side, x // side:(x + 24) // side]
                np.testing.assert_array_equal(content[f'{name}_s{index + 1:03d}'].reshape(part.shape), part)


def test_lmdb_is_what_basicsr_makes_of_the_folder(make, tmp_path):
    folders, lmdbs = make(crop=24), make(crop=24, lmdb=True)
    prepare(folders)
    prepare(lmdbs)
    for side in (1, 2, 3):
        theirs, files = tmp_path / f'theirs{side}.lmdb', sorted(os.listdir(folders.targets[side]))
        make_lmdb_from_imgs(str(folders.targets[side]), str(theirs), files, [file.split('.png')[0] for file in files],
                            map_size=2**24)
        assert lmdb_content(lmdbs.targets[side]) == lmdb_content(theirs)
        assert (lmdbs.targets[side] / 'meta_info.txt').read_text() == (theirs / 'meta_info.txt').read_text()
        assert sorted(os.listdir(lmdbs.targets[side])) == ['data.mdb', 'lock.mdb', 'meta_info.txt']
    assert [path.name for path in lmdbs.targets.values()] == [
        'HR_sub.lmdb', 'LR_bicubic_X2_sub.lmdb', 'LR_bicubic_X3_sub.lmdb']


@pytest.mark.parametrize('crop', [None, 24])
@pytest.mark.parametrize('how', ['folder', 'meta', 'lmdb', 'suffix'])
def test_basicsr_reads_it(make, crop, how):
    settings = make(crop=crop, lmdb=how == 'lmdb', name='Toy', filename_tmpl='{}x{scale}' if how == 'suffix' else '{}')
    prepare(settings)
    opt = {**of_prepared(settings, 3, 24), 'phase': 'val', 'scale': 3}
    if how in ('folder', 'suffix'):
        del opt['meta_info_file']
    data = build_dataset(opt)
    names = [line.split('.')[0] for line in (settings.targets[HR] / 'meta_info.txt' if how == 'lmdb' else
                                             settings.meta_info_file).read_text().splitlines()]
    assert len(data) == len(names) and {data[i]['gt_path'].split('/')[-1].split('.')[0]
                                        for i in range(len(data))} == set(names)
    for index in range(len(data)):
        item = data[index]
        assert [3 * size for size in item['lq'].shape[1:]] == list(item['gt'].shape[1:])
        assert crop is None or item['gt'].shape == (3, 24, 24)


def test_div2k_names(make):
    settings = make(name='DIV2K_train', filename_tmpl='{}x{scale}')
    prepare(settings)
    assert {name for name in tree(settings.out) if not name.startswith('.')} == {
        *(f'DIV2K_train_HR/{name}.png' for name in 'abc'), 'meta_info_DIV2K_train_HR.txt',
        *(f'DIV2K_train_LR_bicubic/X{scale}/{name}x{scale}.png' for name in 'abc' for scale in (2, 3))}


@pytest.mark.parametrize('lmdb', [False, True])
def test_workers_make_no_difference(make, tmp_path, lmdb):
    one, two = make(crop=24, lmdb=lmdb), make(crop=24, lmdb=lmdb, out=tmp_path / 'two')
    prepare(one)
    prepare(two, workers=2)
    assert tree(one.out) == tree(two.out)


def test_16_bits(tmp_path, make):
    img = write(tmp_path / 'deep/x.png', (24, 30, 3), dtype=np.uint16)
    settings = make(hr=(tmp_path / 'deep',))
    prepare(settings)
    np.testing.assert_array_equal(read(settings.targets[HR] / 'x.png'), img)
    low = read(settings.targets[2] / 'x.png')
    assert low.dtype == np.uint16
    np.testing.assert_array_equal(low, downscale(img, 2))


@pytest.mark.parametrize('link', [False, True])
def test_file_that_needs_no_change_is_not_encoded_again(make, hr, link):
    assert cv2.imwrite(str(hr / 'b.png'), read(hr / 'b.png')[:60], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    settings = make(link=link)
    prepare(settings)
    made = settings.targets[HR] / 'b.png'
    assert made.read_bytes() == (hr / 'b.png').read_bytes()
    assert made.samefile(hr / 'b.png') == link
    assert not (settings.targets[HR] / 'a.png').samefile(hr / 'a.png')  # cropped


def test_transparency_that_is_opaque_is_encoded_away(make, tmp_path):
    img = np.dstack([write(tmp_path / 'alpha/x.png', (12, 12, 3)), np.full((12, 12), 255, np.uint8)])
    assert cv2.imwrite(str(tmp_path / 'alpha/x.png'), img)
    settings = make(hr=(tmp_path / 'alpha',))
    prepare(settings)
    np.testing.assert_array_equal(read(settings.targets[HR] / 'x.png'), img[..., :3])


def test_given_lr_images(make, hr, tmp_path):
    """LR images that are not bicubic, with DIV2K's names; HR not yet cropped."""
    lows = {name: write(tmp_path / f'low/X3/{name}x3.png', (shape[0] // 3, shape[1] // 3, shape[2]), seed=9)
            for name, shape in SIZES.items()}
    settings = make(lr=tmp_path / 'low', scales=(3,), mod=6)
    prepare(settings)
    assert settings.targets[3] == settings.out / 'LR/X3'
    for name, (height, width, _) in SIZES.items():
        np.testing.assert_array_equal(read(settings.targets[3] / f'{name}.png'),
                                      lows[name][:height // 6 * 2, :width // 6 * 2])
    (tmp_path / 'low/X3/bx3.png').unlink()
    with pytest.raises(UserError, match=r"b\.png' has no LR image of scale 3.*bx3'.*1 of 3 have none"):
        prepare(make(lr=tmp_path / 'low', scales=(3,), out=tmp_path / 'other'))


def test_lr_of_wrong_size_is_named_with_both_sizes(make, hr, tmp_path):
    for name, shape in SIZES.items():
        write(tmp_path / f'low/{name}.png', (shape[0] // 3 + (name == 'b'), shape[1] // 3, shape[2]))
    with pytest.raises(UserError, match=r"low/b\.png' is 22x24.*b\.png' of 64x72 needs 21x24 at scale 3"):
        prepare(make(lr=tmp_path / 'low', scales=(3,)))


def test_names_that_basicsr_cannot_read_are_changed(make, tmp_path):
    write(tmp_path / 'odd/with space.v2.png', (12, 12, 3))
    for lmdb, expected in ((False, 'with_space.v2'), (True, 'with_space_v2')):
        settings = make(hr=(tmp_path / 'odd',), lmdb=lmdb)
        prepare(settings)
        data = build_dataset({**of_prepared(settings, 2, 12), 'phase': 'val', 'scale': 2})
        assert data[0]['gt_path'].endswith(expected if lmdb else f'{expected}.png')


def test_small_images_are_kept_or_left_out(make):
    settings = make(crop=48)
    prepare(settings)
    assert 'c_s001.png (36,48,1)' in settings.meta_info_file.read_text()
    least = make(crop=48, min_size=48, name='Large')
    assert prepare(least).left_out == 1
    assert {line[0] for line in least.meta_info_file.read_text().splitlines()} == {'a', 'b'}


def test_prefix_and_subfolders(make, hr, tmp_path):
    write(hr / 'deep/a.png', (12, 12, 3))
    with pytest.raises(UserError, match=r"a\.png' and '.*deep/a\.png' would both become a\.png; .*--prefix"):
        prepare(make(recursive=True))
    settings = make(recursive=True, prefix=True)
    prepare(settings)
    assert sorted(path.name for path in settings.targets[HR].iterdir()) == [
        'hr_a.png', 'hr_b.png', 'hr_c.png', 'hr_deep_a.png']


def test_lmdb_grows(make, monkeypatch):
    from basicsr_amsr.data.prepare import lmdb_writer
    expected = make(lmdb=True, out=make().out / 'large')
    prepare(expected)
    monkeypatch.setattr(lmdb_writer, 'FIRST_MAP', 2**14)
    settings = make(lmdb=True, out=make().out / 'small')
    prepare(settings)
    assert tree(settings.out) == tree(expected.out)
    assert sum(map(len, lmdb_content(settings.targets[HR]).values())) > 2**14  # it had to
