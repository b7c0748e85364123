"""The steps of MGA training: what trains, what does not, what is saved, and what a resumed run goes on with."""
import copy

import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.mga.mask import error_target
from basicsr_amsr.mga.schedule import Step
from basicsr_amsr.models.mga_model import MGAModel
from tests.mga.toy import registered
from tests.models.iterating import batch, iterate, run_options


def options(tmp_path, ema_decay=0.0, steps=None, total_iter=9):
    steps = steps or [{'variant': v, 'iters': 3, 'warmup': 1, 'lr': 1e-2} for v in 'DAM']
    return run_options(
        tmp_path, {'type': 'MGA', 'backbone': registered(), 'k': 0.5}, total_iter=total_iter, steps=steps,
        ema_decay=ema_decay, optim_g={'type': 'Adam'}, pixel_opt={'type': 'L1Loss', 'loss_weight': 10},
        coarse_opt={'type': 'L1Loss', 'loss_weight': 1}, mask_opt={'type': 'L1Loss', 'loss_weight': 10})


def snapshot(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def changed(before, after):
    return {name.split('.')[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def seeded():
    torch.manual_seed(0)


def test_each_step_trains_its_parts_and_nothing_else(tmp_path, seeded):
    model = MGAModel(options(tmp_path))
    state = snapshot(model.net_g)
    for iterations, parts, losses in (((1, 2, 3), {'base', 'refine'}, {'l_pix', 'l_coarse'}),
                                      ((4, 5, 6), {'base', 'refine'}, {'l_pix', 'l_coarse'}),
                                      ((7, 8, 9), {'mask'}, {'l_mask'})):
        logs = iterate(model, iterations)
        after = snapshot(model.net_g)
        assert changed(state, after) == parts
        assert all(set(log) == losses for log in logs)
        state = after
    saved = sorted(p.name for p in (tmp_path / 'models').iterdir())
    assert saved == ['net_g_step1_D.pth', 'net_g_step2_A.pth']


def test_the_coarse_head_is_trained_by_the_coarse_loss_alone(tmp_path, seeded):
    opt = options(tmp_path)
    opt['train']['coarse_opt']['loss_weight'] = 0
    model = MGAModel(opt)
    head = model.net_g.base.last.weight.clone()
    iterate(model, (1, 2, 3))
    assert torch.equal(model.net_g.base.last.weight, head)
    model = MGAModel(options(tmp_path))
    head = model.net_g.base.last.weight.clone()
    iterate(model, (1, 2, 3))
    assert not torch.equal(model.net_g.base.last.weight, head)


def test_average_of_frozen_parts_stays_to_the_bit_and_steps_go_on_from_it(tmp_path, seeded):
    model = MGAModel(options(tmp_path, ema_decay=0.9))
    iterate(model, (1, 2, 3))
    average = snapshot(model.net_g_ema)
    assert changed(average, snapshot(model.net_g)) == {'base', 'refine'}
    model.update_learning_rate(4)
    assert changed(average, snapshot(model.net_g)) == set()
    iterate(model, (4, 5, 6, 7))
    average = snapshot(model.net_g_ema)
    iterate(model, (8, 9))
    assert changed(average, snapshot(model.net_g_ema)) == {'mask'}


def test_validation_shows_the_variant_of_the_step(tmp_path, seeded):
    model = MGAModel(options(tmp_path, ema_decay=0.9))
    for iteration, variant in ((1, 'D'), (4, 'A'), (7, 'M')):
        iterate(model, (iteration,))
        model.feed_data(batch(0))
        model.test()
        assert model.net_g.variant == model.net_g_ema.variant == variant
        assert model.output.shape == (2, 3, 24, 28)


@pytest.mark.parametrize('kill', range(1, 9))
def test_a_run_resumed_in_any_step_goes_on_with_the_same_losses(tmp_path, seeded, kill):
    model = MGAModel(options(tmp_path))
    start = copy.deepcopy(model.net_g.state_dict())
    expected = iterate(model, range(1, 10))

    model = MGAModel(options(tmp_path))
    model.net_g.load_state_dict(start)
    iterate(model, range(1, kill + 1))
    model.save(0, kill)
    state = torch.load(tmp_path / 'training_states' / f'{kill}.state', weights_only=False)

    opt = options(tmp_path)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models' / f'net_g_{kill}.pth')
    model = MGAModel(opt)
    model.resume_training(state)
    assert iterate(model, range(kill + 1, 10)) == expected[kill:]


def test_the_base_net_can_be_trained_alone(tmp_path, seeded):
    model = MGAModel(options(tmp_path, steps=[{'variant': 'B', 'iters': 2, 'warmup': 0}], total_iter=2))
    state = snapshot(model.net_g)
    assert all(set(log) == {'l_pix'} for log in iterate(model, (1, 2)))
    assert changed(state, snapshot(model.net_g)) == {'base'}


@pytest.mark.parametrize(('step', 'parts', 'losses'), [
    ({'supervision': 'absolute'}, {'mask'}, {'l_mask'}),
    ({'supervision': 'none'}, {'mask'}, {'l_pix'}),
    ({'supervision': 'none', 'end_to_end': True}, {'base', 'refine', 'mask'}, {'l_pix', 'l_coarse'}),
    ({'end_to_end': True}, {'base', 'refine', 'mask'}, {'l_pix', 'l_coarse', 'l_mask'}),
])
def test_the_other_trainings_of_the_mask(tmp_path, seeded, step, parts, losses):
    steps = [{'variant': 'A', 'iters': 2, 'warmup': 0}, {'variant': 'M', 'iters': 2, 'warmup': 0, **step}]
    model = MGAModel(options(tmp_path, ema_decay=0.9, steps=steps, total_iter=4))
    iterate(model, (1, 2))
    model.update_learning_rate(3)
    state = snapshot(model.net_g)
    assert all(set(log) == losses for log in iterate(model, (3, 4)))
    after = snapshot(model.net_g)
    assert changed(state, after) == parts
    model.save(0, 4)
    saved = torch.load(tmp_path / 'models' / 'net_g_4.pth', weights_only=True)
    for weights in (after, saved['params'], saved['params_ema']):
        model.net_g.load_state_dict(weights)
        assert model.net_g.mask.supervision == step.get('supervision', 'normalized')


def test_an_absolute_mask_is_trained_on_the_absolute_error(tmp_path, seeded):
    steps = [{'variant': 'M', 'iters': 1, 'warmup': 0, 'supervision': 'absolute'}]
    model = MGAModel(options(tmp_path, steps=steps, total_iter=1))
    net, lq = model.net_g, batch(1)['lq']
    with torch.no_grad():
        feature, coarse = net.base.extract(lq), net.base(lq)
        refined = net.refine_patches(feature, coarse, net.every_patch(feature))
        target = error_target(coarse, refined, 2, 4, normalize=False)
        expected = float((net.mask(feature) - target).abs().mean())
    log, = iterate(model, (1,))
    assert log['l_mask'] == pytest.approx(10 * expected, rel=1e-5)


def test_a_threshold_without_its_training_is_refused_before_training(tmp_path):
    opt = options(tmp_path)
    opt['network_g']['k'] = {'threshold': 0.01}
    with pytest.raises(UserError, match='supervision: absolute'):
        MGAModel(opt)
    opt['train']['steps'][2]['supervision'] = 'absolute'
    MGAModel(opt)


@pytest.mark.parametrize('variant', ['D', 'A'])
def test_a_frozen_base_net_stays_and_is_not_in_the_optimizer(tmp_path, seeded, variant):
    steps = [{'variant': variant, 'iters': 3, 'warmup': 0, 'freeze_base': True}]
    model = MGAModel(options(tmp_path, steps=steps, total_iter=3, ema_decay=0.9))
    before = copy.deepcopy(model.net_g.state_dict())
    logs = iterate(model, (1, 2, 3))
    after = model.net_g.state_dict()
    changed = {key.split('.')[0] for key in after if not torch.equal(after[key], before[key])}
    assert changed == {'refine'} and all(set(log) == {'l_pix'} for log in logs)
    assert not any(p.requires_grad for p in model.net_g.base.parameters())
    held = {id(p) for group in model.optimizer_g.param_groups for p in group['params']}
    assert held == {id(p) for p in model.net_g.refine.parameters()}


def test_a_frozen_base_net_is_for_the_steps_that_refine():
    for variant in 'BM':
        with pytest.raises(ValueError, match='freeze_base is for variants D and A'):
            Step(variant=variant, iters=10, warmup=0, freeze_base=True)


def test_a_plain_network_is_the_start_of_weights_and_average(tmp_path, seeded):
    opt = options(tmp_path, ema_decay=0.9)
    opt['network_g'] = {'type': 'MGA', 'backbone': {'type': 'SRResNet', 'upscale': 2, 'num_feat': 8},
                        'split_blocks': [2, 1]}
    plain = get_backbone('SRResNet').create(upscale=2, num_feat=8, num_block=3)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    opt['path']['pretrain_network_backbone'] = str(tmp_path / 'plain.pth')
    model = MGAModel(opt)
    for net in (model.net_g, model.net_g_ema):
        assert torch.equal(net.refine.body[0].conv1.weight, plain.body[2].conv1.weight)
        assert torch.equal(net.base.upsampler[0].weight, plain.upsampler[0].weight)
    # a run that goes on has weights of its own
    model.save_network(model.net_g, 'net_g', 1)
    opt['path'] |= {'resume_state': 'x.state', 'pretrain_network_g': str(tmp_path / 'models' / 'net_g_1.pth')}
    opt['path']['pretrain_network_backbone'] = str(tmp_path / 'gone.pth')
    MGAModel(opt)
    opt['path']['resume_state'] = None
    with pytest.raises(UserError, match='both given'):
        MGAModel(opt)


def test_weights_of_a_plain_network_are_not_those_of_a_network_with_refine_net(tmp_path, seeded):
    opt = options(tmp_path)
    opt['network_g'] = {'type': 'MGA', 'backbone': {'type': 'SRResNet', 'upscale': 2, 'num_feat': 8}}
    torch.save(get_backbone('SRResNet').create(upscale=2, num_feat=8).state_dict(), tmp_path / 'plain.pth')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'plain.pth')
    with pytest.raises(UserError, match='holds SRResNet without mask') as caught:
        MGAModel(opt)
    assert 'path: pretrain_network_backbone' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('change', 'words'), [
    (lambda train: train.update(total_iter=10), 'add up to 9'),
    (lambda train: train.pop('coarse_opt'), "'coarse_opt' is missing"),
    (lambda train: train['optim_g'].update(lr=1), 'no effect'),
    (lambda train: train['optim_g'].update(type='Adan'), 'Adan'),
    (lambda train: train.pop('steps'), "'steps' is missing"),
])
def test_wrong_training_options_are_one_line(tmp_path, change, words):
    opt = options(tmp_path)
    change(opt['train'])
    with pytest.raises(UserError, match=words) as caught:
        MGAModel(opt)
    assert '\n' not in str(caught.value)


def test_another_network_is_refused(tmp_path):
    opt = options(tmp_path)
    opt['network_g'] = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1}
    with pytest.raises(UserError, match='MSRResNet'):
        MGAModel(opt)
