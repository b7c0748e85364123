"""What the option check knows before the start: sections that contradict one another, names, types, YAML."""
import json
from pathlib import Path

import pytest

from tests.cli.conftest import METRICS, options_to_test, options_to_train, pairs
from tests.faults.lines import mistake, mistakes

SINGLE = {'type': 'SingleImageDataset', 'dataroot_lq': 'data/lq', 'io_backend': {'type': 'disk'}}
COSINE = 'CosineAnnealingRestartLR'


@pytest.mark.parametrize(('scheduler', 'part'), [
    ({'type': COSINE, 'periods': [1]}, 'the periods add up to 1 iterations, but total_iter is 2'),
    ({'type': COSINE, 'periods': [1, 1]}, 'periods has 2 values, restart_weights 1'),
    ({'type': COSINE, 'periods': None}, 'periods is None'),
    ({'type': COSINE, 'periods': 2}, 'periods is 2: it has to be a list of whole numbers, 1 or more'),
    ({'type': 'MultiStepLR', 'milestones': ['a']}, "milestones is ['a']: it has to be a list of whole numbers"),
    ({'type': 'MultiStepRestartLR', 'milestones': [1], 'restarts': [0, 1]}, 'restarts has 2 values, restart_weights 1'),
])
def test_schedulers(basicsr, scheduler, part):
    options = options_to_train()
    options['train']['scheduler'] = scheduler
    assert part in mistake(basicsr, 'train', options)


def test_milestones_may_be_written_as_floats(basicsr):
    options = options_to_train()
    options['train']['scheduler']['milestones'] = [1e0, 2.5e2]
    assert basicsr('train', options)[0] == 0


def test_two_test_sets_of_one_name(basicsr):
    options = options_to_test()
    options['datasets']['test_2'] = pairs(name='Three')
    assert "test_1 and test_2 both have the name 'Three'" in mistake(basicsr, 'test', options)


def test_two_validation_sets_of_one_name_by_their_keys(basicsr):
    options = options_to_train(val={'val_freq': 1, 'metrics': METRICS})
    options['datasets'].update(val_1=pairs(name='val_2'), val_2=pairs())
    assert "val_1 and val_2 both have the name 'val_2'" in mistake(basicsr, 'train', options)


def test_a_set_whose_name_is_nothing_goes_by_its_key(basicsr):
    options = options_to_test()
    options['datasets'] = {'test_1': pairs(name=None)}
    code, _, err = basicsr('test', options)
    assert code == 0, err
    assert list(json.loads(Path('results/tiny/metrics.json').read_text())) == ['test_1']


@pytest.mark.parametrize('metrics', [METRICS, {'ours': {'type': 'calculate_ssim', 'crop_border': 0}}])
def test_a_metric_against_the_ground_truth_of_a_set_that_has_none(basicsr, metrics):
    options = options_to_test()
    options['datasets'] = {'test': SINGLE}
    options['val']['metrics'] = metrics
    line = mistake(basicsr, 'test', options)
    assert f'gives no ground truth to compare with, but val: metrics: asks for {", ".join(metrics)}: ' in line


def test_a_set_without_ground_truth_is_tested_without_metrics(basicsr):
    options = options_to_test(val={'save_img': True})
    options['datasets'] = {'test': SINGLE}
    assert basicsr('test', options)[0] == 0
    assert len(list(Path('results/tiny').rglob('*.png'))) == 3


def test_nothing_takes_a_metric_out_as_it_does_in_a_file(basicsr):
    code, out, err = basicsr('test', options_to_test(), '--force_yml', 'val:metrics:psnr=~')
    assert code == 0, err
    assert 'ssim' in out and 'psnr' not in out


def test_a_tab(basicsr):
    Path('x.yml').write_text('name: x\ntrain:\n\ttotal_iter: 5\n')
    assert mistake(basicsr, 'train', None, '-opt', 'x.yml') == (
        'x.yml, line 3, column 1: a tab stands in that line: indent with spaces.')


def test_a_number_as_key(basicsr):
    assert "tiny.yml:42: there is no option '1'" in mistake(basicsr, 'train', {**options_to_train(), 1: 2})


def test_names_that_no_folder_can_have(basicsr):
    for command, options in (('test', options_to_test), ('train', options_to_train)):
        assert 'has 300 letters' in mistake(basicsr, command, options(name='x' * 300))
    options = options_to_test()
    options['datasets']['test_1']['name'] = 'ä' * 100
    assert 'datasets: test_1: name: ' in mistake(basicsr, 'test', options)


def test_the_queue_of_realesrgan(basicsr):
    options = options_to_train(model_type='RealESRNetModel', queue_size=5)
    options['datasets']['train']['batch_size_per_gpu'] = 2
    assert any('queue_size 5 is no multiple of batch_size_per_gpu 2; 4 is.' in line
               for line in mistakes(basicsr, 'train', options))
