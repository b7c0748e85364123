"""Training from memory: to the bit the batches and losses of the data set's own way, or one clear line."""
import logging
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.registry import DATASET_REGISTRY

from basicsr_amsr import UserError
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.training import memory, whole_images
from basicsr_amsr.training.loaders import create_train_loader
from basicsr_amsr.training.memory import MemoryLoader
from basicsr_amsr.training.whole_images import compact
from tests.cli.conftest import error_line, options_to_train

SIZES = ((40, 56), (37, 41), (64, 33), (24, 24), (51, 90))
LOGGER = logging.getLogger('test')


@pytest.fixture
def folder(tmp_path):
    """hr/ with five images of odd sizes; gt/ and lq/ with their pairs at scale 2."""
    rng = np.random.default_rng(0)
    for name in ('hr', 'gt', 'lq'):
        (tmp_path / name).mkdir()
    for number, size in enumerate(SIZES):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        height, width = (side // 2 * 2 for side in size)
        for name, pixels in (('hr', image), ('gt', image[:height, :width]), ('lq', downscale(image, 2))):
            assert cv2.imwrite(str(tmp_path / name / f'{number}.png'), pixels)
    return tmp_path


def dataset_options(folder, kind, **more):
    opt = {'name': 'toy', 'phase': 'train', 'scale': 2, 'gt_size': 16, 'use_hflip': True, 'use_rot': True,
           'batch_size_per_gpu': 4, 'num_worker_per_gpu': 0, 'dataset_enlarge_ratio': 3}
    stored = {'type': 'PairedImageDataset', 'dataroot_gt': str(folder / 'gt'), 'dataroot_lq': str(folder / 'lq'),
              'io_backend': {'type': 'disk'}}
    if kind == 'on the fly':
        opt.update(type='BicubicPairedImageDataset', dataroot_gt=str(folder / 'hr'))
    elif kind == 'lmdb':
        for name in ('gt', 'lq'):
            if not (folder / f'{name}.lmdb').exists():
                files = sorted(path.name for path in (folder / name).iterdir())
                make_lmdb_from_imgs(str(folder / name), str(folder / f'{name}.lmdb'), files, [f[:-4] for f in files])
            stored[f'dataroot_{name}'] = str(folder / f'{name}.lmdb')
        opt.update(stored, io_backend={'type': 'lmdb'})
    elif kind == 'meta info':
        (folder / 'meta.txt').write_text(''.join(f'{n}.png (1,1,3)\n' for n in (3, 0, 4)))
        opt.update(stored, meta_info_file=str(folder / 'meta.txt'))
    else:
        opt.update(stored)
    return {**opt, **more}


def loader_of(dataset_opt, **more):
    opt = {'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1, 'manual_seed': 5, 'train': {'total_iter': 1000},
           **more}
    return create_train_loader(opt, dataset_opt, LOGGER)


def batches(dataset_opt, epochs=2, **more):
    loader, order = loader_of(dataset_opt, **more)
    found = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        found += list(loader)
    assert len(loader) * epochs == len(found)
    return found


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for mine, stock in zip(ours, theirs, strict=True):
        assert mine.keys() == stock.keys()
        for key in ('lq', 'gt'):
            assert mine[key].dtype == torch.float32 and mine[key].is_contiguous() and torch.equal(mine[key], stock[key])
        assert mine['lq_path'] == stock['lq_path'] and mine['gt_path'] == stock['gt_path']


@pytest.mark.parametrize('kind', ['folder', 'lmdb', 'meta info', 'on the fly'])
@pytest.mark.parametrize('workers', [0, 2])
def test_batches_are_the_data_sets_own(folder, kind, workers):
    stock = batches(dataset_options(folder, kind, num_worker_per_gpu=workers))
    ours = batches(dataset_options(folder, kind, num_worker_per_gpu=workers, memory='host'))
    assert_equal(ours, stock)
    assert not torch.equal(ours[0]['gt'], ours[len(ours) // 2]['gt'])  # the second epoch is another one


@pytest.mark.parametrize('options', [
    {'use_hflip': False}, {'use_rot': False}, {'use_hflip': False, 'use_rot': False}, {'gt_size': 24},
    {'batch_size_per_gpu': 12, 'dataset_enlarge_ratio': 7}, {'color': 'y'}, {'mean': [0.4, 0.5, 0.6], 'std': [1, 2, 3]},
    {'memory': 'device'}])
@pytest.mark.parametrize('kind', ['folder', 'on the fly'])
def test_options_of_the_data_set(folder, kind, options):
    stock = batches(dataset_options(folder, kind, **{**options, 'memory': None}))
    assert_equal(batches(dataset_options(folder, kind, **{'memory': 'host', **options})), stock)


@pytest.mark.parametrize('depth, color', [(np.uint8, 'gray'), (np.uint16, None), (np.uint16, 'gray')])
def test_gray_and_16_bit_images(tmp_path, depth, color):
    rng = np.random.default_rng(0)
    (tmp_path / 'hr').mkdir()
    for number, size in enumerate(SIZES):
        image = rng.integers(0, np.iinfo(depth).max + 1, (*size, 3)).astype(depth)
        assert cv2.imwrite(str(tmp_path / f'hr/{number}.png'), image)
    stock = batches(dataset_options(tmp_path, 'on the fly', color=color))
    assert_equal(batches(dataset_options(tmp_path, 'on the fly', color=color, memory='host')), stock)
    loader, _ = loader_of(dataset_options(tmp_path, 'on the fly', color=color, memory='host'))
    assert loader.crops.gt.pixels.dtype == (torch.uint8 if depth == np.uint8 else torch.float32)


def test_two_processes_share_the_joint_batch_and_a_resumed_run_goes_on(folder):
    opt = dataset_options(folder, 'folder', memory='host')
    joint = batches(opt, epochs=1)
    halves = [batches({**opt, 'batch_size_per_gpu': 2}, epochs=1, dist=True, rank=rank, world_size=2)
              for rank in (0, 1)]
    for whole, first, second in zip(joint, *halves, strict=True):
        assert torch.equal(whole['gt'], torch.cat([first['gt'], second['gt']]))
    resumed = {'iter': 1, 'epoch': 0, 'seed': 5, 'samples': 15, 'joint_batch': 4, 'position': 4}
    assert_equal(batches(opt, epochs=1, resumed=resumed), joint[1:])


def test_the_process_random_state_is_untouched(folder):
    loader, order = loader_of(dataset_options(folder, 'folder', memory='host'))
    order.set_epoch(0)
    random.seed(0)
    torch.manual_seed(0)
    before = random.getstate(), torch.get_rng_state()
    list(loader)
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


def test_nothing_begins_before_the_first_batch_and_an_epoch_may_be_left(folder, monkeypatch):
    loader, order = loader_of(dataset_options(folder, 'folder', memory='host', dataset_enlarge_ratio=50))
    made = []
    monkeypatch.setattr(loader.crops, 'batch', lambda samples: made.append(samples) or {'lq': 0, 'gt': 0})
    assert list(iter(loader)) == []  # no epoch is set: BasicSR's prefetchers ask before
    order.set_epoch(0)
    batches = iter(loader)
    assert made == []
    next(batches)
    batches.close()
    assert 1 <= len(made) <= memory.AHEAD + 1


def test_an_error_in_the_thread_reaches_the_training(folder, monkeypatch):
    loader, order = loader_of(dataset_options(folder, 'folder', memory='host'))
    order.set_epoch(0)

    def fail(samples):
        raise RuntimeError('broken')

    monkeypatch.setattr(loader.crops, 'batch', fail)
    with pytest.raises(RuntimeError, match='broken'):
        list(loader)


@pytest.mark.parametrize('place', ['host', 'device'])
def test_a_whole_training_has_the_same_losses(basicsr, place):
    losses, weights = [], []
    for value in (None, place):
        opt = options_to_train(name=f'run_{value}')
        opt['train']['total_iter'] = 8
        opt['datasets']['train'].update(memory=value, dataset_enlarge_ratio=2, batch_size_per_gpu=2)
        assert basicsr('train', opt)[0] == 0
        log = next(Path(f'experiments/run_{value}').glob('train_*.log')).read_text()
        losses.append([line.split('l_pix: ')[1] for line in log.splitlines() if 'l_pix: ' in line])
        weights.append(torch.load(f'experiments/run_{value}/models/net_g_latest.pth')['params'])
        assert ('Training from memory' in log) == (value is not None)
    assert losses[0] == losses[1] and len(losses[0]) == 8
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def refused(dataset_opt):
    with pytest.raises(UserError) as error:
        loader_of(dataset_opt)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', ['folder', 'on the fly'])
def test_an_image_smaller_than_a_crop_is_named(folder, kind, workers):
    line = refused(dataset_options(folder, kind, gt_size=26, memory='host', num_worker_per_gpu=workers))
    assert '3.png' in line and '24x24' in line and 'gt_size 26' in line


def test_a_pair_that_does_not_fit_is_named(folder):
    cv2.imwrite(str(folder / 'lq' / '1.png'), np.zeros((30, 30, 3), np.uint8))
    line = refused(dataset_options(folder, 'folder', memory='host'))
    assert 'gt/1.png' in line and 'not 2 times' in line


def test_a_broken_image_is_named(folder):
    (folder / 'hr' / '1.png').write_bytes(b'no image')
    assert '1.png' in refused(dataset_options(folder, 'on the fly', memory='host', num_worker_per_gpu=1))


@pytest.mark.parametrize('options, word', [
    ({'memory': 'gpu'}, 'host, device'), ({'gt_size': 15}, 'multiple'), ({'memory': True}, 'host, device')])
def test_values_that_are_not_possible(folder, options, word):
    with pytest.raises(UserError, match=word):
        loader_of(dataset_options(folder, 'folder', **{'memory': 'host', **options}))


class Noisy(torch.utils.data.Dataset):
    """Adds noise in training, or gives no pairs."""

    def __init__(self, opt):
        self.phase, self.gives = opt['phase'], opt['gives']

    def __len__(self):
        return 6

    def __getitem__(self, index):
        size = 32 if self.phase != 'train' else 16
        generator = torch.Generator().manual_seed(index)
        item = {'lq': torch.rand(3, size // 2, size // 2, generator=generator), 'lq_path': 'a', 'gt_path': 'a'}
        if self.gives == 'no whole':
            raise KeyError('gt_size')
        if self.gives == 'noise':
            item['gt'] = torch.rand(3, size, size, generator=generator)
        if self.gives == 'frames':
            item['gt'] = torch.rand(2, 3, size, size)
        return item


@pytest.mark.parametrize('gives, word', [('noise', 'does more'), ('nothing', 'gives lq'), ('frames', 'C, H, W'),
                                         ('no whole', 'cannot read pair 0 whole')])
def test_other_data_sets_are_refused_by_what_they_do(folder, gives, word, monkeypatch):
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, 'Noisy', Noisy)
    line = refused(dataset_options(folder, 'folder', type='Noisy', gives=gives, memory='host'))
    assert word in line and 'Noisy' in line


def test_what_does_not_fit_is_refused_before_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(whole_images, 'free_host_memory', lambda: 10_000)
    monkeypatch.setattr(whole_images, 'FIRST', 2)
    read = []
    monkeypatch.setattr(whole_images, 'compact', lambda image: read.append(1) or compact(image))
    line = refused(dataset_options(folder, 'folder', memory='host'))
    assert 'memory: ~' in line and '5 pairs' in line and 'GiB' in line
    assert len(read) == 4  # two pairs


def test_free_memory_is_that_of_the_container(tmp_path, monkeypatch):
    (tmp_path / 'meminfo').write_text('MemTotal: 8000 kB\nMemAvailable:    4000 kB\n')
    monkeypatch.setattr(whole_images, 'MEMINFO', tmp_path / 'meminfo')
    monkeypatch.setattr(whole_images, 'CGROUP', tmp_path)
    assert whole_images.free_host_memory() == 4000 * 1024
    (tmp_path / 'memory.max').write_text('3000000\n')
    (tmp_path / 'memory.current').write_text('1000000\n')
    assert whole_images.free_host_memory() == 2000000
    (tmp_path / 'memory.max').write_text('max\n')
    assert whole_images.free_host_memory() == 4000 * 1024
    monkeypatch.setattr(whole_images, 'MEMINFO', tmp_path / 'nowhere')
    assert whole_images.free_host_memory() is None


def test_a_mistake_is_one_line_of_the_command(basicsr):
    opt = options_to_train()
    opt['datasets']['train'].update(memory='host', gt_size=64)
    code, _, err = basicsr('train', opt)
    assert code == 2
    assert 'a.png' in error_line(err) and 'gt_size 64' in error_line(err)


@pytest.mark.cuda
@pytest.mark.parametrize('place', ['host', 'device'])
def test_on_cuda_batches_are_the_data_sets_own(folder, place):
    stock = batches(dataset_options(folder, 'folder'))
    ours = batches(dataset_options(folder, 'folder', memory=place), num_gpu=1)
    assert all(batch[key].is_cuda for batch in ours for key in ('lq', 'gt'))
    assert_equal([{key: value.cpu() if torch.is_tensor(value) else value for key, value in batch.items()}
                  for batch in ours], stock)


def test_the_loader_is_what_the_options_ask_for(folder):
    assert isinstance(loader_of(dataset_options(folder, 'folder', memory='host'))[0], MemoryLoader)
    assert not isinstance(loader_of(dataset_options(folder, 'folder', memory=None))[0], MemoryLoader)
