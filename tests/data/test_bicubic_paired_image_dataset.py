"""The dataset against BasicSR's PairedImageDataset on stored LR files, and one line for what cannot work."""
from __future__ import annotations

import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from torch.utils.data import DataLoader

from basicsr_amsr import UserError
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.options.complete import complete_datasets

SIZES = ((50, 61), (64, 64), (48, 90))


@pytest.fixture
def folder(tmp_path):
    """Three images, none a multiple of everything."""
    rng = np.random.default_rng(0)
    (tmp_path / 'hr').mkdir()
    for index, size in enumerate(SIZES):
        assert cv2.imwrite(str(tmp_path / f'hr/{index}.png'), rng.integers(0, 256, (*size, 3)).astype(np.uint8))
    return tmp_path / 'hr'


def make(folder, phase='val', scale=4, **options):
    opt = {'name': 'toy', 'type': 'BicubicPairedImageDataset', 'dataroot_gt': str(folder), 'phase': phase,
           'scale': scale, **({'gt_size': 24} if phase == 'train' else {}), **options}
    return build_dataset({key: value for key, value in opt.items() if value != 'absent'})


def refused(*args, **options) -> str:
    with pytest.raises(UserError) as error:
        make(*args, **options)
    assert '\n' not in str(error.value)
    return str(error.value)


def bgr(tensor) -> np.ndarray:
    """Back to uint8 (H, W, 3)."""
    values = tensor.numpy().transpose(1, 2, 0)[..., ::-1] * 255
    np.testing.assert_allclose(values, values.round(), atol=1e-4)
    return values.round().astype(np.uint8)


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('extra', [{}, {'color': 'y'}, {'mean': [0.4, 0.5, 0.6], 'std': [0.5, 1.0, 2.0]}])
def test_whole_images_equal_basicsr_on_stored_files(folder, scale, extra):
    (folder.parent / 'lr').mkdir()
    for path in folder.iterdir():
        assert cv2.imwrite(str(folder.parent / 'lr' / path.name), downscale(cv2.imread(str(path)), scale))
    theirs = build_dataset({'name': 'stored', 'type': 'PairedImageDataset', 'dataroot_gt': str(folder), 'phase': 'val',
                            'dataroot_lq': str(folder.parent / 'lr'), 'io_backend': {'type': 'disk'}, 'scale': scale,
                            **extra})
    ours = make(folder, scale=scale, io_backend={'type': 'disk'}, **extra)
    expected = {item['gt_path']: item for item in (theirs[i] for i in range(3))}
    assert [item['gt_path'] for item in (ours[i] for i in range(3))] == sorted(expected)
    for item in (ours[i] for i in range(3)):
        stored = expected[item['gt_path']]
        assert item['lq_path'] == item['gt_path'] and item.keys() == stored.keys()
        for key in ('lq', 'gt'):
            assert item[key].dtype == torch.float32
            torch.testing.assert_close(item[key], stored[key], rtol=0, atol=0)


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_training_crops_are_cut_from_the_lr_image(folder, scale):
    random.seed(0)
    data = make(folder, 'train', scale)
    wholes = [(bgr(item['gt']), bgr(item['lq'])) for item in (make(folder, scale=scale)[i] for i in range(3))]
    places, side = set(), 24 // scale
    for index in [0, 1, 2] * 5:
        item, (gt, lq) = data[index], wholes[index]
        crop = bgr(item['gt'])
        assert item['gt'].shape == (3, 24, 24) and item['lq'].shape == (3, side, side)
        spots = [(y, x) for y in range(lq.shape[0] - side + 1) for x in range(lq.shape[1] - side + 1)
                 if (gt[y * scale, x * scale] == crop[0, 0]).all()
                 and (gt[y * scale:y * scale + 24, x * scale:x * scale + 24] == crop).all()]
        assert len(spots) == 1
        y, x = spots[0]
        np.testing.assert_array_equal(lq[y:y + side, x:x + side], bgr(item['lq']))
        places.add((index, y, x))
    assert len(places) > 10


@pytest.mark.parametrize('flags', [{'use_hflip': True}, {'use_rot': True}, {'use_hflip': True, 'use_rot': True}])
@pytest.mark.parametrize('color', ['absent', 'gray'])
def test_flips_turn_both_alike(tmp_path, flags, color):
    """gt_size is the whole image, so each item is one of its eight poses, and its LR the same pose of the LR image."""
    img = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / 'a.png'), img)
    data, plain = make(tmp_path, 'train', color=color, **flags), make(tmp_path, color=color)[0]
    seen = set()
    for seed in range(40):
        random.seed(seed)
        item = data[0]
        poses = [(turns, mirror) for turns in range(4) for mirror in (False, True) if torch.equal(
            item['gt'], pose(plain['gt'], turns, mirror))]
        assert len(poses) == 1
        torch.testing.assert_close(item['lq'], pose(plain['lq'], *poses[0]), rtol=0, atol=0)
        seen.add(poses[0])
    assert len(seen) == {1: 2 if 'use_hflip' in flags else 4, 2: 8}[len(flags)]


def pose(tensor, turns, mirror):
    turned = torch.rot90(tensor, turns, (1, 2))
    return turned.flip(2) if mirror else turned


def test_16_bits_are_kept(tmp_path):
    img = np.random.default_rng(0).integers(0, 65536, (16, 20, 3)).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / 'a.png'), img)
    item = make(tmp_path)[0]
    for tensor, expected in ((item['gt'], img), (item['lq'], downscale(img, 4))):
        values = tensor.double().numpy().transpose(1, 2, 0)[..., ::-1] * 65535
        np.testing.assert_allclose(values, expected, atol=0.01)


def test_gray(folder):
    item = make(folder, color='gray')[0]
    gray = cv2.cvtColor(cv2.imread(str(folder / '0.png')), cv2.COLOR_BGR2GRAY)
    np.testing.assert_allclose(item['lq'][0].numpy() * 255, downscale(gray, 4), atol=1e-4)
    assert item['gt'].shape == (1, 48, 60)


def test_alpha(tmp_path):
    assert cv2.imwrite(str(tmp_path / 'a.png'), np.full((8, 8, 4), 100, np.uint8))
    with pytest.raises(UserError, match=r'a\.png.*alpha: drop'):
        make(tmp_path)[0]
    assert make(tmp_path, alpha='drop')[0]['gt'].shape == (3, 8, 8)


@pytest.mark.parametrize('workers', [0, 2])
def test_loader(folder, workers):
    data = make(folder, 'train', use_hflip=True, use_rot=True)
    opt = {'phase': 'train', 'batch_size_per_gpu': 3, 'num_worker_per_gpu': workers}
    (batch,) = list(build_dataloader(data, opt, num_gpu=0, seed=0))
    assert batch['lq'].shape == (3, 3, 6, 6) and batch['gt'].shape == (3, 3, 24, 24)
    assert sorted(batch['gt_path']) == sorted(str(path) for path in folder.iterdir())


@pytest.mark.parametrize('workers', [0, 2])
def test_small_image_is_one_line_even_from_a_worker(folder, workers):
    data = make(folder, 'train', gt_size=60)
    with pytest.raises(UserError) as error:
        list(DataLoader(data, num_workers=workers))
    assert str(error.value) == (f"Image '{folder / '0.png'}' is 50x61, smaller than gt_size 60; "
                                'remove it or lower datasets:train:gt_size.')


def test_pickle(folder):
    data = make(folder)
    torch.testing.assert_close(pickle.loads(pickle.dumps(data))[1]['lq'], data[1]['lq'])


def test_several_folders_through_option_file(folder, tmp_path):
    (tmp_path / 'more').mkdir()
    (folder / '2.png').rename(tmp_path / 'more/a.png')
    opt = {'scale': 2, 'datasets': {'val_1': {'name': 'toy', 'type': 'BicubicPairedImageDataset',
                                              'dataroot_gt': [str(folder), str(tmp_path / 'more')]}}}
    complete_datasets(opt)
    data = build_dataset(opt['datasets']['val_1'])
    assert [path.name for path in data.paths] == ['0.png', '1.png', 'a.png']
    assert data.lr_source == f"MATLAB bicubic x2, made on the fly from {folder}, {tmp_path / 'more'}"


def test_limits_and_subfolders(folder):
    (folder / 'deep').mkdir()
    (folder / '0.png').rename(folder / 'deep/0.png')
    assert [path.name for path in make(folder).paths] == ['1.png', '2.png']
    assert [path.name for path in make(folder, recursive=True).paths] == ['1.png', '2.png', '0.png']
    assert [path.name for path in make(folder, max_images=1).paths] == ['1.png']
    assert len(make(folder, max_images=9)) == 2


def test_meta_info_file(folder, tmp_path):
    (folder / '1.png').rename(folder / 'with space.png')
    listing = tmp_path / 'names.txt'
    listing.write_text('2.png (48,90,3)\n\nwith space.png (64,64,3)\n0.png\n')
    data = make(folder, meta_info_file=str(listing))
    assert [path.name for path in data.paths] == ['2.png', 'with space.png', '0.png']
    listing.write_text('9.png\n')
    assert all(word in refused(folder, meta_info_file=str(listing)) for word in ('9.png', 'names.txt', str(folder)))
    listing.write_text('\n')
    assert 'names no image' in refused(folder, meta_info_file=str(listing))
    assert 'nowhere.txt' in refused(folder, meta_info_file='nowhere.txt')


def test_relative_folder_is_found_from_anywhere(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert len(make('hr')) == 3
    bundled = make('demo/test')
    assert len(bundled) > 0 and bundled.lr_source.startswith('MATLAB bicubic x4, made on the fly from ')


def test_scale_1_says_so(folder):
    data = make(folder, scale=1)
    assert data.lr_source == f'the images themselves (scale 1), from {folder}'


def test_absent_folder_says_how_to_start(tmp_path):
    absent = tmp_path / 'DIV2K'
    assert refused(absent, 'train') == (
        f'{absent} is not there. Point datasets:train:dataroot_gt at a folder of images, '
        'or start with bundled photographs: add --demo.')
    assert refused(absent, 'test') == f'{absent} is not there. Point datasets:test:dataroot_gt at a folder of images.'


@pytest.mark.parametrize(('phase', 'options', 'words'), [
    ('train', {'gt_size': 26}, 'gt_size 26 is no multiple of scale 4'),
    ('train', {'gt_size': 'absent'}, "datasets: train: 'gt_size' is missing"),
    ('train', {'gt_size': '48'}, 'whole number'),
    ('val', {'scale': 2.5}, 'datasets: val: scale is 2.5'),
    ('val', {'max_images': 0}, 'max_images is 0'),
    ('val', {'color': 'rgb'}, "color is 'rgb': it has to be y or gray"),
    ('val', {'alpha': 'keep'}, 'refuse or drop'),
    ('debug', {}, "datasets: debug: phase is 'debug': it has to be train, val or test"),
    ('val', {'io_backend': {'type': 'lmdb'}}, 'use {type: disk}'),
    ('val', {'dataroot_gt': 'absent'}, "'dataroot_gt' is missing"),
    ('val', {'use_hfilp': True}, 'Did you mean use_hflip'),
    ('val', {'dataroot_lq': 'lr'}, "no option 'dataroot_lq'"),
])
def test_options_are_refused_by_name(folder, phase, options, words):
    assert words in refused(folder, phase, **options)


def test_too_small_and_empty(tmp_path):
    assert 'holds no image' in refused(tmp_path)
    assert cv2.imwrite(str(tmp_path / 'dot.png'), np.zeros((3, 9, 3), np.uint8))
    with pytest.raises(UserError, match=r'dot\.png.*3x9, too small for scale 4'):
        make(tmp_path)[0]
