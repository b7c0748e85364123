"""`basicsr test`: BasicSR's figures, each image's figures, and how they were computed."""
import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY
from torch import nn

from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.precision import DTYPES
from tests.cli.conftest import METRICS, NETWORK, error_line, options_to_test, pairs, write_images
from tests.kernels import needs_kernels


def read_metrics(name='tiny'):
    return json.loads(Path('results', name, 'metrics.json').read_text())


def logged_means(name='tiny'):
    log = next(Path('results', name).glob('test_*.log')).read_text()
    return {(dataset, metric): float(value)
            for dataset, block in re.findall(r'Validation (\w+)\n((?:\t # .*\n)+)', log)
            for metric, value in re.findall(r'# (\w+): ([\d.]+)', block)}


def test_metrics_json_equals_what_basicsr_computes_and_logs(basicsr):
    code, out, _ = basicsr('test', options_to_test())
    assert code == 0
    metrics = read_metrics()
    assert list(metrics) == ['Three']
    means = logged_means()
    assert len(means) == 2
    for metric, function in (('psnr', calculate_psnr), ('ssim', calculate_ssim)):
        entry = metrics['Three'][metric]
        assert sorted(entry['images']) == ['a', 'b', 'c']
        for image, value in entry['images'].items():
            sr = cv2.imread(f'results/tiny/visualization/Three/{image}_tiny.png')
            gt = cv2.imread(f'data/gt/{image}.png')
            options = {key: value for key, value in METRICS[metric].items() if key != 'type'}
            assert value == pytest.approx(function(sr, gt, **options), rel=1e-12)
        assert entry['mean'] == pytest.approx(np.mean(list(entry['images'].values())), rel=1e-12)
        assert f'{entry["mean"]:.4f}' == f'{means["Three", metric]:.4f}'
        assert f'{entry["mean"]:.4f}' in out
    assert 'metrics.json' in out


def test_metrics_json_says_how_each_figure_was_computed(basicsr):
    basicsr('test', options_to_test())
    metrics = read_metrics()['Three']
    assert metrics['psnr']['computed'] == {
        'metric_type': 'calculate_psnr', 'channel': 'Y', 'crop_border': 2, 'value_range': '0-255, 8 bit',
        'lr_source': 'images given in data/lq'}
    assert metrics['ssim']['computed']['channel'] == 'RGB'


def test_several_sets_do_not_mix(basicsr, project):
    write_images(project / 'more' / 'gt', ['a'], 32, seed=2)
    write_images(project / 'more' / 'lq', ['a'], 16, seed=3)
    more = pairs(name='More', dataroot_gt='more/gt', dataroot_lq='more/lq')
    code, _, _ = basicsr('test', options_to_test(datasets={'test_1': pairs(name='Three'), 'test_2': more}))
    assert code == 0
    metrics, means = read_metrics(), logged_means()
    assert {name: sorted(entry['psnr']['images']) for name, entry in metrics.items()} == {
        'Three': ['a', 'b', 'c'], 'More': ['a']}
    assert len(means) == 4
    for (dataset, metric), value in means.items():
        assert f'{metrics[dataset][metric]["mean"]:.4f}' == f'{value:.4f}'


def test_images_of_the_same_name_stay_apart(basicsr, project):
    for seed, folder in enumerate(('x', 'y')):
        write_images(project / 'more' / folder, ['a'], 32, seed=seed)
    Path('more/list.txt').write_text('x/a.png\ny/a.png\n')
    dataset = pairs(name='Two', dataroot_gt='more', meta_info_file='more/list.txt')
    code, _, _ = basicsr('test', options_to_test(datasets={'test': dataset}))
    assert code == 0
    psnr = read_metrics()['Two']['psnr']
    assert list(psnr['images']) == ['a', 'lq/a'] and psnr['images']['a'] != psnr['images']['lq/a']
    assert psnr['mean'] == pytest.approx(np.mean(list(psnr['images'].values())), rel=1e-12)


class Nearest2(nn.Module):
    """Repeats pixels; has no options."""

    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode='nearest')

    def forward(self, x):
        return self.up(x)


@pytest.fixture
def nearest_network():
    ARCH_REGISTRY.register(Nearest2)
    yield
    del ARCH_REGISTRY._obj_map['Nearest2']


def test_identical_images_give_valid_json(basicsr, project, nearest_network):
    for name in 'abc':
        lq = cv2.imread(f'data/lq/{name}.png')
        cv2.imwrite(f'data/gt/{name}.png', lq.repeat(2, 0).repeat(2, 1))
    code, out, _ = basicsr('test', options_to_test(network_g={'type': 'Nearest2'}))
    assert code == 0
    psnr = read_metrics()['Three']['psnr']
    assert psnr['images'] == {'a': 'Infinity', 'b': 'Infinity', 'c': 'Infinity'} and psnr['mean'] == 'Infinity'
    assert math.isinf(float(psnr['mean']))
    assert 'inf' in out


def test_an_absent_set_is_one_line_and_the_others_run(basicsr):
    absent = pairs(name='Gone', dataroot_gt='data/gone')
    code, out, err = basicsr('test', options_to_test(datasets={'test_1': absent, 'test_2': pairs(name='Three')}))
    assert code == 0
    lines = [line for line in err.splitlines() if line.startswith('basicsr: ')]
    assert len(lines) == 1 and 'Gone' in lines[0] and 'data/gone' in lines[0]
    assert list(read_metrics()) == ['Three'] and 'Three' in out


def test_all_sets_absent_is_an_error(basicsr):
    code, _, err = basicsr('test', options_to_test(datasets={'test_1': pairs(name='Gone', dataroot_gt='data/gone')}))
    assert code == 2
    assert 'data/gone' in error_line(err)
    assert not Path('results').exists()


def test_without_metrics_images_are_written_and_it_is_said(basicsr):
    code, out, _ = basicsr('test', options_to_test(val={'save_img': True, 'suffix': 'x2'}))
    assert code == 0
    assert 'No metrics' in out
    assert sorted(path.name for path in Path('results/tiny/visualization/Three').iterdir()) == [
        'a_x2.png', 'b_x2.png', 'c_x2.png']
    assert not Path('results/tiny/metrics.json').exists()


def test_two_runs_in_one_process_have_a_log_each(basicsr):
    for name in ('first', 'second'):
        basicsr('test', options_to_test(name=name))
        assert len(logged_means(name)) == 2


BACKBONE = {'type': 'MSRResNet', 'upscale': 2, 'num_feat': 8, 'num_block': 1}


# modules are watched
BY_TORCH = {'type': 'AMSR', 'backbone': BACKBONE, 'selection': {'patch_size': 4}, 'backend': 'torch'}


@pytest.mark.parametrize('network', [NETWORK, BY_TORCH])
def test_val_dtype_is_what_networks_compute_in(basicsr, monkeypatch, network):
    computed, measured, found = set(), [], {}
    forward, psnr = nn.Conv2d.forward, METRIC_REGISTRY.get('calculate_psnr')

    def spy(conv, x):
        result = forward(conv, x)
        computed.add(result.dtype)
        return result

    def calculate_psnr(*images, **options):
        measured.append(torch.is_autocast_enabled('cpu'))
        return psnr(*images, **options)

    monkeypatch.setattr(nn.Conv2d, 'forward', spy)
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_psnr', calculate_psnr)
    for dtype in ('fp32', 'bf16', 'fp16'):
        computed.clear()
        code, _, _ = basicsr('test', options_to_test(network_g=network), '--force_yml', f'val:dtype={dtype}')
        assert code == 0 and computed == {DTYPES[dtype]}
        found[dtype] = read_metrics()['Three']
    assert measured == [False] * 9
    for dtype in ('bf16', 'fp16'):
        assert found[dtype]['psnr']['mean'] == pytest.approx(found['fp32']['psnr']['mean'], abs=0.05)
        assert found[dtype].get('keep') == found['fp32'].get('keep')


def test_where_bf16_is_slow_the_log_says_so(basicsr, monkeypatch):
    monkeypatch.setattr('basicsr_amsr.execution.precision.cpu_has_bf16', lambda: False)
    options = options_to_test()
    options['val'] = {**options['val'], 'dtype': 'bf16'}
    assert basicsr('test', options)[0] == 0
    log = next(Path('results', 'tiny').glob('test_*.log')).read_text()
    assert log.count('val: dtype: this CPU has no instructions for bf16: it is slower than fp32 here.') == 1


@needs_kernels
def test_native_kernels_make_the_same_pictures(basicsr, monkeypatch):
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 2}
    metrics, passes = {}, []
    outputs = DenseForm.outputs
    monkeypatch.setattr(DenseForm, 'outputs', lambda *args: passes.append(1) or outputs(*args))
    for engine in ('torch', 'native'):
        torch.manual_seed(0)
        code, _, _ = basicsr('test', options_to_test(network_g=network, name=engine, manual_seed=0), '--force_yml',
                             f'val:engine={engine}')
        assert code == 0 and bool(passes) == (engine == 'native')
        metrics[engine] = read_metrics(engine)['Three']['psnr']['images']
    assert metrics['native'] == pytest.approx(metrics['torch'], abs=0.02)
