"""Every option file that is shipped: it parses, its names exist, its networks build, its steps add up."""
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network

from basicsr_amsr.registry import DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

FILES = sorted((Path(__file__).parents[1] / 'options').rglob('*.yml'))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_option_file(path):
    opt = yaml.safe_load(path.read_text(encoding='utf-8'))
    assert opt['name'] == path.stem
    assert opt['model_type'] in MODEL_REGISTRY
    assert all(d['type'] in DATASET_REGISTRY for d in opt['datasets'].values())
    assert all(m['type'] in METRIC_REGISTRY for m in opt['val']['metrics'].values())
    network = opt['network_g']
    assert network.get('backbone', network).get('upscale', 1) == opt['scale']
    with torch.device('meta'):
        build_network(network)
    if 'train' not in opt:
        return
    for part in (opt, opt['demo']):
        assert sum(step['iters'] for step in part['train']['steps']) == part['train']['total_iter']
    assert all(opt['train'][key]['type'] in LOSS_REGISTRY for key in ('pixel_opt', 'coarse_opt', 'mask_opt'))
    assert opt['datasets']['train']['gt_size'] == 64 * opt['scale']


def test_there_are_option_files():
    assert len(FILES) >= 9
