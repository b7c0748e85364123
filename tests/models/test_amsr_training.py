"""AMSRModel in BasicSR's pipeline: with everything that speeds training up, with SFM, resumed, validated."""
import copy
import json
import re
from pathlib import Path

import pytest
import torch

from basicsr_amsr.models.amsr_model import AMSRModel
from tests.cli.conftest import METRICS, options_to_test, options_to_train, pairs

BACKBONE = {'type': 'CARN_M', 'num_feat': 8}
LOSS = {'type': 'L1Loss'}
SFM = {'type': 'SFM', 'target': 'lq', 'mode': 'central', 'rate': 1}


def options(**train):
    opt = options_to_train(model_type='AMSRModel', path={'pretrain_network_g': 'plain.pth'}, network_g={
        'type': 'AMSR', 'backbone': BACKBONE, 'selection': {'keep': 0.5, 'patch_size': 4}})
    opt['datasets']['val'] = pairs(name='Three')
    opt['val'] = {'val_freq': 2, 'save_img': False, 'metrics': METRICS}
    opt['train'].update(total_iter=4, teacher_opt=LOSS, ema_decay=0.9, **train)
    return opt


@pytest.fixture
def plain(basicsr):
    """plain.pth: weights of the plain network."""
    opt = options_to_train(network_g=BACKBONE, name='plain')
    assert basicsr('train', opt)[0] == 0
    Path('experiments/plain/models/net_g_latest.pth').rename('plain.pth')


@pytest.fixture
def seen(monkeypatch):
    """Batches and losses of every iteration."""
    seen = []
    optimize = AMSRModel.optimize_parameters

    def record(self, current_iter):
        optimize(self, current_iter)
        seen.append((self.lq.clone(), self.gt.clone(), dict(self.get_current_log())))

    monkeypatch.setattr(AMSRModel, 'optimize_parameters', record)
    return seen


def weights(name='tiny'):
    saved = torch.load(f'experiments/{name}/models/net_g_latest.pth', weights_only=True)
    return {f'{key}.{part}': value for key, state in saved.items() for part, value in state.items()}


def test_it_goes_with_everything_else_and_is_resumed_bit_by_bit(basicsr, plain, seen):
    opt = options(keep_range=[0.2, 0.8], channels_last=True, amp='bf16', transforms=[SFM])
    opt['datasets']['train'].update(memory='host', batch_size_per_gpu=2, dataset_enlarge_ratio=3)
    opt['logger']['save_checkpoint_freq'] = 2
    assert basicsr('train', opt)[0] == 0
    whole, logs = weights(), [log for _, _, log in seen]
    assert all(log.keys() == {'l_pix', 'l_teacher', 'keep'} for log in logs)
    for part in ('training_states/4.state', 'models/net_g_4.pth', 'models/net_g_latest.pth'):
        Path('experiments/tiny', part).unlink()
    seen.clear()
    assert basicsr('train', opt, '--auto_resume')[0] == 0
    assert [log for _, _, log in seen] == logs[2:]
    assert all(torch.equal(value, whole[key]) for key, value in weights().items()) and len(weights()) == len(whole)


def test_what_it_saves_are_weights_of_the_plain_network(basicsr, plain):
    assert basicsr('train', options())[0] == 0
    start = torch.load('plain.pth', weights_only=True)['params']
    saved = torch.load('experiments/tiny/models/net_g_latest.pth', weights_only=True)
    assert list(saved) == ['params', 'params_ema'] and list(saved['params']) == list(start)
    assert any(not torch.equal(value, start[key]) for key, value in saved['params'].items())
    assert sorted(path.name for path in Path('experiments/tiny').iterdir() if path.is_dir()) == [
        'models', 'training_states', 'visualization']
    path = {'pretrain_network_g': 'experiments/tiny/models/net_g_latest.pth'}
    for network in (BACKBONE, options()['network_g']):
        assert basicsr('test', options_to_test(network_g=network, path=path))[0] == 0


def test_a_validation_says_what_share_was_computed(basicsr, plain):
    assert basicsr('train', options(keep_range=[0.9, 1.0]))[0] == 0
    log = next(Path('experiments/tiny').glob('train_*.log')).read_text()
    assert re.findall(r'Validation Three: keep: (.*)', log) == ['0.5000'] * 2
    entries = [json.loads(line) for line in Path('experiments/tiny/validation.jsonl').read_text().splitlines()]
    assert [(entry['iter'], entry['metric']) for entry in entries] == [
        (iteration, metric) for iteration in (2, 4) for metric in ('psnr', 'ssim', 'keep')]
    assert all(entry['value'] == 0.5 for entry in entries if entry['metric'] == 'keep')
    assert basicsr('test', options_to_test(
        model_type='AMSRModel', network_g=options()['network_g'], path={'pretrain_network_g': 'plain.pth'}))[0] == 0
    assert json.loads(Path('results/tiny/metrics.json').read_text())['Three']['keep']['mean'] == 0.5


@pytest.mark.parametrize('place', ['train', 'data set'])
def test_with_sfm_inputs_are_masked_and_targets_whole(basicsr, plain, seen, place):
    opt = options()
    assert basicsr('train', opt)[0] == 0
    before, masked = list(seen), copy.deepcopy(opt)
    seen.clear()
    (masked['train'] if place == 'train' else masked['datasets']['train'])['transforms'] = [SFM]
    assert basicsr('train', masked)[0] == 0
    for (lq, gt, _), (clean, target, _) in zip(seen, before, strict=True):
        assert gt.equal(target) and not lq.equal(clean)


def test_weights_that_come_with_the_project_go_by_their_name(basicsr):
    opt = options()
    opt['network_g']['backbone'] = {'type': 'CARN_M'}
    opt['path'] = {'pretrain_network_g': 'CARN_M_x234'}
    opt['train'].update(total_iter=1)
    opt['train'].pop('ema_decay')
    del opt['val'], opt['datasets']['val']
    assert basicsr('train', opt)[0] == 0
    assert sorted(path.name for path in Path().iterdir()) == ['data', 'experiments', 'tiny.yml']
