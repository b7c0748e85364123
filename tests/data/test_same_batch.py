"""Folder, LMDB and on-the-fly training see the same first batch, bit for bit. `pytest -s` prints its checksum."""
from __future__ import annotations

import hashlib
import logging

import pytest
import torch

from basicsr_amsr.data.prepare.carry_out import run
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.train_options import of_prepared, on_the_fly
from basicsr_amsr.training.loaders import create_train_val_dataloader
from tests.data.prepare.conftest import unwatched, write


def first_batch(options, scale, workers=0, seed=10, size=4):
    """What the training's own loader gives first for these options of a data set."""
    train = {**options, 'scale': scale, 'phase': 'train', 'batch_size_per_gpu': size, 'num_worker_per_gpu': workers}
    opt = {'datasets': {'train': train}, 'train': {'total_iter': 1}, 'manual_seed': seed, 'num_gpu': 0, 'dist': False,
           'rank': 0, 'world_size': 1}
    loader, order, *_ = create_train_val_dataloader(opt, logging.getLogger('basicsr'))
    order.set_epoch(0)
    return next(iter(loader))


def check_same(ways, scale, workers, size=4):
    """All ways give the same batch, another seed gives another; returns its LR and HR images."""
    batches = {name: first_batch(options, scale, workers, size=size) for name, options in ways.items()}
    first = next(iter(batches.values()))
    for name, batch in batches.items():
        for key in ('lq', 'gt'):
            assert torch.equal(first[key], batch[key]), f'{key}: {name}'
    assert not torch.equal(first_batch(ways['folder'], scale, seed=99, size=size)['gt'], first['gt'])
    digest = hashlib.sha256(first['lq'].numpy().tobytes() + first['gt'].numpy().tobytes()).hexdigest()[:12]
    print(f'\nx{scale}, {workers} workers: {" = ".join(ways)}: sha256 {digest} of lq {tuple(first["lq"].shape)} and gt '
          f'{tuple(first["gt"].shape)}')
    return first['lq'], first['gt']


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_three_ways_to_the_same_batch(tmp_path, scale):
    """Prepared for three scales at once; the gray image stays one until it is read."""
    for index, size in enumerate([(131, 150), (144, 121), (160, 145), (121, 190)]):
        write(tmp_path / f'hr/{index}.png', (*size, 3) if index else (*size, 1), index)
    stored = {'hr': (tmp_path / 'hr',), 'out': tmp_path / 'out', 'scales': (2, 3, 4)}
    folder, lmdb = Settings(**stored), Settings(**stored, lmdb=True)
    for settings in (folder, lmdb):
        run(settings, 1, unwatched)
    lq, gt = check_same({'folder': of_prepared(folder, scale, 120), 'LMDB': of_prepared(lmdb, scale, 120),
                         'on the fly': on_the_fly('toy', folder.targets[HR], scale, 120)}, scale, workers=0)
    side = min(48, 120 // scale)
    assert lq.shape == (4, 3, side, side) and gt.shape == (4, 3, side * scale, side * scale)


@pytest.mark.parametrize(('scale', 'workers'), [(2, 0), (3, 2), (4, 2)])
def test_photographs(tmp_path, shared, scale, workers):
    """As users have them: JPEG files of any size, trained on as they are, or prepared for one scale."""
    photographs = tmp_path / 'photographs'
    photographs.mkdir()
    for path in sorted((shared / 'data/train/t91').glob('*.jpg'))[:20]:
        (photographs / path.name).symlink_to(path)
    stored = {'hr': (photographs,), 'out': tmp_path / 'out', 'scales': (scale,)}
    folder, lmdb = Settings(**stored), Settings(**stored, lmdb=True)
    for settings in (folder, lmdb):
        run(settings, 1, unwatched)
    check_same({'folder': of_prepared(folder, scale, 72), 'LMDB': of_prepared(lmdb, scale, 72),
                'on the fly': on_the_fly('t91', photographs, scale, 72)}, scale, workers, size=16)


def test_sub_images_in_folder_and_lmdb_are_the_same(tmp_path):
    write(tmp_path / 'hr/a.png', (150, 200, 3))
    options = {'hr': (tmp_path / 'hr',), 'out': tmp_path / 'out', 'scales': (4,), 'crop': 96}
    ways = {}
    for name, settings in (('folder', Settings(**options)), ('LMDB', Settings(**options, lmdb=True))):
        run(settings, 1, unwatched)
        ways[name] = of_prepared(settings, 4, 96)
    assert check_same(ways, 4, workers=0, size=12)[1].shape == (12, 3, 96, 96)
