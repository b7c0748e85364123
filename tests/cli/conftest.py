"""A tiny project: images, and option files for a network of a few hundred parameters."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from basicsr_amsr.cli import main


def write_images(folder: Path, names, size, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name in names:
        assert cv2.imwrite(str(folder / f'{name}.png'), rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The current folder, with pairs of images: three in data/gt and data/lq at scale 2."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'data' / 'gt', ['a', 'b', 'c'], 32)
    write_images(tmp_path / 'data' / 'lq', ['a', 'b', 'c'], 16, seed=1)
    return tmp_path


def pairs(**more):
    return {'type': 'PairedImageDataset', 'dataroot_gt': 'data/gt', 'dataroot_lq': 'data/lq',
            'io_backend': {'type': 'disk'}, **more}


METRICS = {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True},
           'ssim': {'type': 'calculate_ssim', 'crop_border': 2}}
NETWORK = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 2}


def options_to_test(**more):
    return {'name': 'tiny', 'model_type': 'SRModel', 'scale': 2, 'num_gpu': 0, 'manual_seed': 0,
            'datasets': {'test_1': pairs(name='Three')}, 'network_g': dict(NETWORK), 'path': {},
            'val': {'save_img': True, 'suffix': None, 'metrics': METRICS}, **more}


def options_to_train(**more):
    return {'name': 'tiny', 'model_type': 'SRModel', 'scale': 2, 'num_gpu': 0, 'manual_seed': 0,
            'datasets': {'train': pairs(name='Three', gt_size=16, use_hflip=True, use_rot=True, batch_size_per_gpu=1,
                                        num_worker_per_gpu=0)},
            'network_g': dict(NETWORK), 'path': {},
            'train': {'total_iter': 2, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
                      'scheduler': {'type': 'MultiStepLR', 'milestones': [1]}, 'pixel_opt': {'type': 'L1Loss'}},
            'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False}, **more}


@pytest.fixture
def basicsr(project, capsys):
    """Runs `basicsr` here: basicsr('test', options, *words) returns exit code, stdout and stderr."""
    def run(command, options=None, *words):
        if options is not None:
            Path('tiny.yml').write_text(yaml.safe_dump(options, sort_keys=False))
            words = ('-opt', 'tiny.yml', *words)
        capsys.readouterr()
        code = main([command, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def error_line(err):
    """The one line that stderr has to consist of, log lines aside."""
    lines = [line for line in err.splitlines() if line.startswith('basicsr: error: ')]
    assert len(lines) == 1, err
    assert 'Traceback' not in err
    return lines[0]
