"""The published denoising figures, through the option files and `basicsr test`."""
import csv
import json
from pathlib import Path

import pytest

# sigma 75 of the authors' Denoising/PSNR_results, first image: without SFM and with it
FIRST_IMAGE = {'dncnn_gray_bsd68': 19.600, 'dncnn_sfm_gray_bsd68': 20.384}
FILES = {'dncnn_gray_bsd68': ('DnCNN_gray_regular', 'dncnn_regular_psnr'),
         'dncnn_sfm_gray_bsd68': ('DnCNN_gray_SFM', 'dncnn_sfm_psnr')}


@pytest.fixture
def measure(basicsr, shared, repository):
    """Mean PSNR at some levels; the file's other test sets are left out, since their images are not there."""
    def run(name, levels, *words):
        images = shared / 'data' / 'benchmark' / 'BSD68_gray'
        roots = [f'datasets:test_{level:03d}:dataroot_gt={images}' for level in levels]
        weights = f'path:pretrain_network_g={shared / "weights" / FILES[name][0]}.pth'
        file = repository / 'options' / 'test' / f'{name}.yml'
        code, _, err = basicsr('test', None, '-opt', str(file), '--force_yml', 'num_gpu=0', weights, *roots, *words)
        assert code == 0, err
        metrics = json.loads(Path('results', name, 'metrics.json').read_text())
        assert sorted(metrics) == [f'sigma{level:03d}' for level in sorted(levels)]
        return {level: metrics[f'sigma{level:03d}']['psnr'] for level in levels}

    return run


@pytest.mark.parametrize('name', FILES)
def test_the_first_image_at_sigma_75(measure, name):
    psnr = measure(name, [75], 'datasets:test_075:max_images=1')[75]
    # Between draws of the noise this image's PSNR has a standard deviation of 0.05 dB, here and in the published
    # figure: 4·√2·0.05. With and without SFM are 0.78 dB apart.
    assert psnr['mean'] == pytest.approx(FIRST_IMAGE[name], abs=0.28)
    assert psnr['computed']['channel'] == 'gray'
    assert 'Gaussian noise 75, clipped; seed 0' in psnr['computed']['lr_source']


@pytest.mark.slow
@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('level', [5, 25, 50, 75, 100])
def test_bsd68(measure, shared, name, level):
    with open(shared / 'paper' / 'sfm_dncnn_bsd68.csv', encoding='utf-8') as table:
        expected = next(float(row[FILES[name][1]]) for row in csv.DictReader(table) if row['noise_sigma'] == str(level))
    psnr = measure(name, [level])[level]
    assert len(psnr['images']) == 68
    assert psnr['mean'] == pytest.approx(expected, abs=0.05)
