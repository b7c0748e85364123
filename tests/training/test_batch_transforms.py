"""`transforms:` of a training: the same samples by data workers, from memory, on the device, for any processes."""
import cv2
import numpy as np
import pytest
import torch
from basicsr.data.prefetch_dataloader import CPUPrefetcher

from basicsr_amsr.data.bicubic import downscale
from tests.cli.conftest import error_line, options_to_train, pairs
from tests.training.test_memory import assert_equal, batches, dataset_options, loader_of

SFM = {'type': 'SFM', 'target': 'lq', 'mode': 'central'}
NOISE = {'type': 'GaussianNoise', 'target': 'lq', 'sigma': [0, 50], 'clip': False}
ALL = {'type': 'SFM', 'target': 'lq', 'mode': 'targeted', 'rate': 1}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('gt', 'lq'):
        (tmp_path / name).mkdir()
    for number, size in enumerate(((40, 56), (36, 42), (64, 32))):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        for name, pixels in (('gt', image), ('lq', downscale(image, 2))):
            assert cv2.imwrite(str(tmp_path / name / f'{number}.png'), pixels)
    return tmp_path


def assert_close(ours, theirs):
    """Products of a batch may round differently from those of its samples."""
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine['gt'], other['gt'])
        torch.testing.assert_close(mine['lq'], other['lq'], rtol=0, atol=1e-6)


@pytest.mark.parametrize('transforms', [[SFM, NOISE], [ALL]])
def test_workers_and_memory_give_the_same_samples(folder, transforms):
    plain = batches(dataset_options(folder, 'folder'))
    one = batches(dataset_options(folder, 'folder', transforms=transforms))
    assert_equal(batches(dataset_options(folder, 'folder', transforms=transforms, num_worker_per_gpu=2)), one)
    assert_close(batches(dataset_options(folder, 'folder', transforms=transforms, memory='host')), one)
    for bare, masked in zip(plain, one, strict=True):
        assert torch.equal(bare['gt'], masked['gt']) and not torch.equal(bare['lq'], masked['lq'])


@pytest.mark.parametrize('more', [{}, {'num_worker_per_gpu': 2}, {'memory': 'device'}])
def test_on_the_device_two_processes_and_a_resumed_run_see_what_one_sees(folder, more):
    opt, train = dataset_options(folder, 'folder', **more), {'total_iter': 1000, 'transforms': [SFM, NOISE]}
    joint = batches(opt, train=train)
    plain = batches(opt)
    for bare, masked in zip(plain, joint, strict=True):
        assert torch.equal(bare['gt'], masked['gt']) and (bare['lq'] != masked['lq']).all((1, 2, 3)).all()
    assert_equal(batches(opt, train=train), joint)
    first, second = (batches({**opt, 'batch_size_per_gpu': 2}, train=train, dist=True, rank=rank, world_size=2)
                     for rank in (0, 1))
    assert_close([{key: torch.cat([a[key], b[key]]) for key in ('lq', 'gt')}
                  for a, b in zip(first, second, strict=True)], joint)
    resumed = {'iter': 1, 'epoch': 0, 'seed': 5, 'samples': 9, 'joint_batch': 4, 'position': 4}
    assert_equal(batches(opt, epochs=1, train=train, resumed=resumed), joint[1:len(joint) // 2])


def test_draws_of_the_data_set_and_of_the_device_are_not_the_same(folder):
    plain, noisy = dataset_options(folder, 'folder'), dataset_options(folder, 'folder', transforms=[NOISE])
    plain, once, both = batches(plain), batches(noisy), batches(noisy, train={'total_iter': 9, 'transforms': [NOISE]})
    first, second = once[0]['lq'] - plain[0]['lq'], both[0]['lq'] - once[0]['lq']
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.1


def test_basicsrs_prefetcher_takes_them(folder):
    loader, order = loader_of(dataset_options(folder, 'folder'), train={'total_iter': 9, 'transforms': [SFM]})
    fetcher = CPUPrefetcher(loader)
    assert fetcher.next() is None  # no epoch is set yet
    for epoch in range(2):
        order.set_epoch(epoch)
        fetcher.reset()
        for _ in range(len(loader)):
            assert fetcher.next()['lq'].shape == (4, 3, 8, 8)
        assert fetcher.next() is None


@pytest.mark.parametrize(('place', 'value', 'words'), [
    (('train',), [{**SFM, 'rate': 2}], 'train:transforms:0: SFM: rate'),
    (('train',), [{'type': 'SFM'}], 'target'),
    (('datasets', 'train'), [{**SFM, 'mod': 1}], 'mode'),
    (('datasets', 'val'), [SFM], 'transforms are for training')])
def test_mistakes_are_one_line(basicsr, place, value, words):
    options = options_to_train()
    options['datasets']['val'] = pairs(name='Three')
    section = options
    for key in place:
        section = section[key]
    section['transforms'] = value
    code, _, err = basicsr('train', options)
    assert code == 2 and words in error_line(err)


def test_a_training_with_both(basicsr):
    options = options_to_train()
    options['train']['transforms'] = options['datasets']['train']['transforms'] = [SFM]
    assert basicsr('train', options)[0] == 0
