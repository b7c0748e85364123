"""`transforms:` around any dataset of BasicSR."""
import random

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from basicsr_amsr.cli.options import Options
from basicsr_amsr.data.transformed import TransformedDataset, take_transforms
from basicsr_amsr.errors import UserError

SFM = {'type': 'SFM', 'target': 'lq', 'mode': 'central', 'rate': 1}


@pytest.fixture
def options(tmp_path):
    rng = np.random.default_rng(0)
    for folder, size in (('gt', 32), ('lq', 16)):
        (tmp_path / folder).mkdir()
        assert cv2.imwrite(str(tmp_path / folder / 'a.png'), rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    return Options({'name': 'x', 'type': 'PairedImageDataset', 'phase': 'train', 'scale': 2, 'gt_size': 32,
                    'dataroot_gt': str(tmp_path / 'gt'), 'dataroot_lq': str(tmp_path / 'lq'), 'use_hflip': False,
                    'use_rot': False, 'io_backend': {'type': 'disk'}}, 'x.yml')


def test_basicsrs_dataset_with_transforms(options):
    plain = build_dataset(options)[0]
    options['transforms'] = [SFM]
    before = dict(options)
    without, transforms = take_transforms(options)
    assert options == before and without == {key: value for key, value in before.items() if key != 'transforms'}
    dataset = TransformedDataset(build_dataset(without), transforms)
    assert len(dataset) == 1 and dataset.opt['dataroot_lq'] == options['dataroot_lq']  # what BasicSR reads from it
    random.seed(0)
    item = dataset[0]
    assert torch.equal(item['gt'], plain['gt']) and not torch.equal(item['lq'], plain['lq'])
    random.seed(0)
    assert torch.equal(dataset[0]['lq'], item['lq'])
    assert not torch.equal(dataset[0]['lq'], item['lq'])


def test_a_mistake_names_the_data_set(options):
    options['transforms'] = [{**SFM, 'mod': 'central'}]
    with pytest.raises(UserError, match=r'datasets:train:transforms:0: SFM has no option mod\. Did you mean mode'):
        take_transforms(options)
