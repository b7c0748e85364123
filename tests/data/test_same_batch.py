"""Folder, LMDB and on-the-fly training see the same first batch, bit for bit."""
from __future__ import annotations

import random

import pytest
import torch
from basicsr.data import build_dataset

from basicsr_amsr.data.prepare.run import run
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.train_block import of_prepared, on_the_fly
from tests.data.prepare.conftest import unwatched, write


def first_batch(options, scale, seed=10):
    """The items in order; Python's `random`, from which crops and flips come, is seeded before each."""
    data = build_dataset({**options, 'scale': scale, 'phase': 'train'})
    items = []
    for index in range(len(data)):
        random.seed(seed + index)
        items.append(data[index])
    return {key: torch.stack([item[key] for item in items]) for key in ('lq', 'gt')}


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_three_ways_to_the_same_batch(tmp_path, scale):
    for index, size in enumerate([(131, 150), (144, 121), (160, 145), (121, 190)]):
        write(tmp_path / f'hr/{index}.png', (*size, 3) if index else (*size, 1), index)
    stored = {'hr': (tmp_path / 'hr',), 'out': tmp_path / 'out', 'scales': (2, 3, 4)}
    folder, lmdb = Settings(**stored), Settings(**stored, lmdb=True)
    for settings in (folder, lmdb):
        run(settings, 1, unwatched)
    ways = [of_prepared(folder, scale, 120), of_prepared(lmdb, scale, 120),
            on_the_fly('toy', folder.targets[HR], scale, 120)]
    batches = [first_batch(options, scale) for options in ways]
    assert batches[0]['lq'].shape == (4, 3, 120 // scale if scale > 2 else 48, 120 // scale if scale > 2 else 48)
    for other in batches[1:]:
        for key in ('lq', 'gt'):
            assert torch.equal(batches[0][key], other[key])
    assert not torch.equal(first_batch(ways[0], scale, seed=99)['gt'], batches[0]['gt'])  # crops do vary


def test_sub_images_in_folder_and_lmdb_are_the_same(tmp_path):
    write(tmp_path / 'hr/a.png', (150, 200, 3))
    options = {'hr': (tmp_path / 'hr',), 'out': tmp_path / 'out', 'scales': (4,), 'crop': 96}
    batches = []
    for settings in (Settings(**options), Settings(**options, lmdb=True)):
        run(settings, 1, unwatched)
        batches.append(first_batch(of_prepared(settings, 4, 96), 4))
    assert batches[0]['gt'].shape == (12, 3, 96, 96)
    for key in ('lq', 'gt'):
        assert torch.equal(batches[0][key], batches[1][key])
