"""`transforms:` around any dataset of BasicSR."""
import random

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from basicsr_amsr.cli.options import Options
from basicsr_amsr.data.transformed import TransformedDataset, build_transformed_dataset
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


def test_a_dataset_without_transforms_is_itself(options):
    assert type(build_transformed_dataset(options, build_dataset)).__name__ == 'PairedImageDataset'
    options['transforms'] = []
    assert type(build_transformed_dataset(options, build_dataset)).__name__ == 'PairedImageDataset'


def test_basicsrs_dataset_with_transforms(options):
    plain = build_dataset(options)[0]
    options['transforms'] = [SFM]
    before = dict(options)
    dataset = build_transformed_dataset(options, build_dataset)
    assert isinstance(dataset, TransformedDataset) and len(dataset) == 1 and options == before
    assert dataset.opt['dataroot_lq'] == options['dataroot_lq']  # what BasicSR reads from a dataset
    random.seed(0)
    item = dataset[0]
    assert torch.equal(item['gt'], plain['gt']) and not torch.equal(item['lq'], plain['lq'])
    random.seed(0)
    assert torch.equal(dataset[0]['lq'], item['lq'])
    assert not torch.equal(dataset[0]['lq'], item['lq'])


def test_validation_is_not_transformed(options):
    options.update(transforms=[SFM], phase='val')
    with pytest.raises(UserError, match='datasets:val:transforms: transforms are for training'):
        build_transformed_dataset(options, build_dataset)
