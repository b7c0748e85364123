"""MGA's steps at their boundaries, in BasicSR's pipeline: learning rate, what trains, what is saved and averaged."""
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from basicsr_amsr import register_backbone
from basicsr_amsr.backbones import MGASplit
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.models.mga_model import MGAModel
from basicsr_amsr.registry import BACKBONE_REGISTRY
from tests.cli.conftest import options_to_train, pairs
from tests.mga.toy import ToyBase, ToyRefine, registered
from tests.models.iterating import batch, iterate
from tests.models.test_mga_model import changed, snapshot
from tests.models.test_mga_model import options as model_options

MODELS = Path('experiments/tiny/models')
STATES = Path('experiments/tiny/training_states')
STEPS = [{'variant': 'D', 'iters': 8, 'periods': 2, 'warmup': 2, 'warmup_lr': 0.1, 'lr': 0.5, 'min_lr': 0.25},
         {'variant': 'A', 'iters': 3, 'warmup': 0, 'lr': 0.02, 'min_lr': 0.01},
         {'variant': 'M', 'iters': 4, 'warmup': 1, 'warmup_lr': 0.001, 'lr': 0.004, 'min_lr': 0.0}]
# By hand. D, twice four iterations: from 0.1 half the way to 0.5 in two, then the cosine's ends. A: a cosine of three.
# M: one of warm-up, then a cosine of three.
RATES = [0.1, 0.3, 0.5, 0.25] * 2 + [0.02, 0.015, 0.01] + [0.001, 0.004, 0.002, 0.0]
PARTS = ['base', 'refine'], ['base', 'refine'], ['mask']
ENDS = [8, 11, 15]


def options(ema=0.0, save=1):
    opt = options_to_train(model_type='MGAModel')
    opt['network_g'] = {'type': 'MGA', 'backbone': registered(), 'k': 0.5}
    loss = {'type': 'L1Loss'}
    opt['train'] = {'total_iter': 15, 'steps': [dict(step) for step in STEPS], 'ema_decay': ema,
                    'optim_g': {'type': 'Adam'}, 'pixel_opt': loss, 'coarse_opt': loss, 'mask_opt': loss}
    opt['logger']['save_checkpoint_freq'] = save
    return opt


@pytest.fixture
def rates(monkeypatch):
    """The learning rate with which each iteration really updates the weights, by iteration."""
    seen = {}
    optimize = MGAModel.optimize_parameters

    def record(self, current_iter):
        seen[current_iter] = {group['lr'] for group in self.optimizer_g.param_groups}
        optimize(self, current_iter)

    monkeypatch.setattr(MGAModel, 'optimize_parameters', record)
    return seen


def saved(iteration):
    return torch.load(MODELS / f'net_g_{iteration}.pth')


def step_of(iteration):
    return next(number for number, end in enumerate(ENDS) if iteration <= end)


def parts(before, after):
    return sorted(changed(before, after))


def test_the_learning_rate_is_the_hand_computed_one_in_every_iteration(basicsr, rates):
    assert basicsr('train', options())[0] == 0
    assert list(rates) == list(range(1, 16))
    assert [next(iter(rates[i])) for i in rates] == pytest.approx(RATES, abs=1e-12)
    assert all(len(values) == 1 for values in rates.values())


@pytest.mark.parametrize('resumed_after', [7, 8, 9, 11, 12])
def test_the_learning_rate_goes_on_after_a_resume_at_a_boundary(basicsr, rates, resumed_after):
    basicsr('train', options())
    for state in STATES.iterdir():
        if int(state.stem) > resumed_after:
            state.unlink()
    expected = {i: rates[i] for i in range(resumed_after + 1, 16)}
    rates.clear()
    assert basicsr('train', options(), '--auto_resume')[0] == 0
    assert rates == expected


@pytest.mark.parametrize('ema', [0.0, 0.9])
def test_what_trains_and_what_does_not_in_every_iteration(basicsr, ema):
    basicsr('train', options(ema))
    for iteration in range(2, 16):
        trains = PARTS[step_of(iteration)]
        before, after = saved(iteration - 1), saved(iteration)
        if RATES[iteration - 1] == 0:  # the last of all
            trains = []
        if iteration - 1 in ENDS and ema:  # the step began from the average
            before['params'] = before['params_ema']
        assert parts(before['params'], after['params']) == trains
        if ema:
            frozen = {'base', 'refine', 'mask'} - set(PARTS[step_of(iteration)])
            assert not frozen & set(parts(before['params_ema'], after['params_ema']))


def test_the_saved_step_is_the_last_iteration_and_the_next_starts_from_its_average(basicsr):
    basicsr('train', options(ema=0.9))
    for end, label in ((8, 'step1_D'), (11, 'step2_A')):
        step, last = torch.load(MODELS / f'net_g_{label}.pth'), saved(end)
        assert step.keys() == last.keys() == {'params', 'params_ema'}
        assert all(not changed(step[key], last[key]) for key in step)
        assert parts(last['params'], last['params_ema']) == ['base', 'refine']
    for key in ('params', 'params_ema'):  # in M, base and refine net are A's average
        assert parts(saved(11)['params_ema'], saved(15)[key]) == ['mask']


def only(weights, part):
    return {key: value for key, value in weights.items() if key.startswith(f'{part}.')}


def test_every_state_holds_the_optimizer_of_its_step(basicsr):
    basicsr('train', options())
    net = MGA(registered())
    count = {part: len(list(getattr(net, part).parameters())) for part in ('base', 'refine', 'mask')}
    for iteration in range(1, 16):
        step = step_of(iteration)
        (optimizer,) = torch.load(STATES / f'{iteration}.state')['optimizers']
        assert len(optimizer['state']) == sum(count[part] for part in PARTS[step])
        begun = ENDS[step - 1] if step else 0
        assert {float(entry['step']) for entry in optimizer['state'].values()} == {iteration - begun}
        assert math.isclose(optimizer['param_groups'][0]['lr'], RATES[iteration - 1], abs_tol=1e-12)


class NormBase(ToyBase):
    """The toy with batch normalisation."""

    def __init__(self, num_feat=8, num_block=2):
        super().__init__(num_feat, num_block)
        self.body.append(nn.BatchNorm2d(num_feat))


def split_norm(base_blocks=2, refine_blocks=1, upscale=2, num_feat=8):
    return MGASplit(NormBase(num_feat, base_blocks), ToyRefine(num_feat, refine_blocks), num_feat)


@pytest.fixture
def norm():
    if 'ToyNorm' not in BACKBONE_REGISTRY:
        register_backbone('ToyNorm', build=lambda upscale=2: NormBase(), scales=(2,), split=split_norm,
                          split_blocks=(2, 1))
    return {'type': 'ToyNorm', 'upscale': 2}


def test_batch_statistics_go_with_the_average_and_stay_when_frozen(tmp_path, norm):
    torch.manual_seed(0)
    opt = model_options(tmp_path, ema_decay=0.9)
    opt['network_g']['backbone'] = norm
    model = MGAModel(opt)
    iterate(model, (1, 2, 3))
    trained = dict(model.net_g.named_buffers())
    assert trained['base.body.2.running_mean'].abs().max() > 0
    assert all(torch.equal(value, trained[name]) for name, value in model.net_g_ema.named_buffers())
    iterate(model, (4, 5, 6, 7))
    frozen, average = snapshot(model.net_g), snapshot(model.net_g_ema)
    model.feed_data(batch(0))
    model.test()
    iterate(model, (8, 9))
    assert changed(frozen, snapshot(model.net_g)) == changed(average, snapshot(model.net_g_ema)) == {'mask'}


def test_validation_in_the_pipeline_changes_nothing(basicsr):
    basicsr('train', options(ema=0.9))
    alone = saved('latest')
    opt = options(ema=0.9)
    opt['val'] = {'val_freq': 1, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}}
    opt['datasets']['val'] = pairs(name='Three')
    assert basicsr('train', opt)[0] == 0
    assert all(not changed(alone[key], saved('latest')[key]) for key in alone)
