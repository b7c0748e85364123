"""Fine-tuning of an accelerated network: its step written by hand, its teacher, its checkpoints, what it refuses."""
import copy
import dataclasses

import pytest
import torch
from basicsr.archs.arch_util import ResidualBlockNoBN

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.calibration.calibrated_network import CalibratedNetwork
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.backbones import skipping
from basicsr_amsr.models.amsr_model import AMSRModel
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.training.acceleration import TrainingForward
from tests.models.iterating import batch, iterate
from tests.models.tiny_amsr import PLAIN, SELECTION, calibration, options, plain_network, plain_weights, resumed


def masked_by_hand(net, lq, keep):
    """The plain network with hooks: each block keeps its input outside the mask, and is 0 there inside."""
    selection = HighFrequencyMask(keep=keep, patch_size=4)
    mask, keep = selection(lq), selection.patches(lq).float().mean()
    assert 0 < keep < 1
    for block in net.modules():
        if isinstance(block, ResidualBlockNoBN):
            block.register_forward_hook(lambda block, args, out: torch.where(mask, out, args[0]))
            block.conv2.register_forward_pre_hook(lambda conv, args: args[0] * mask)
    return net(lq), float(keep)


def assert_same_gradients(net, reference):
    expected = dict(reference.named_parameters())
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('keep_range', [None, (0.3, 0.4), (0.6, 0.9)])
def test_a_step_is_the_one_written_by_hand(tmp_path, keep_range):
    model = AMSRModel(options(tmp_path, keep_range=keep_range))
    student, teacher, data = plain_network(), plain_network(), batch(1)
    (log,) = iterate(model, [1])
    keep = log['keep'] if keep_range else 0.5
    image, keep = masked_by_hand(student, data['lq'], keep)
    with torch.no_grad():
        target = teacher(data['lq'])
    losses = 0.75 * (image - data['gt']).abs().mean(), 20 * ((image - target) ** 2).mean()
    sum(losses).backward()
    assert log == {'l_pix': pytest.approx(losses[0].item()), 'l_teacher': pytest.approx(losses[1].item()),
                   'keep': pytest.approx(keep)}
    assert keep_range is None or keep_range[0] - 1 / 24 <= keep <= keep_range[1] + 1 / 24  # whole patches
    assert_same_gradients(model.net_g, student)
    torch.optim.Adam(student.parameters(), lr=1e-3).step()
    for key, value in student.state_dict().items():
        torch.testing.assert_close(model.net_g.state_dict()[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('network', [{'dense_first': 1}, {'unit': 'conv'}, {'selection': {}},
                                     {'budget': 0.9, 'selection': {'patch_size': 4}}],
                         ids=lambda given: next(iter(given)))
def test_every_way_to_accelerate_trains_its_dense_masked_form(tmp_path, network):
    model = AMSRModel(options(tmp_path, network))
    config = dataclasses.replace(model.net_g.amsr, mode='dense_masked')
    assert 'dense_first' not in network or config.dense_first == 1
    student, data = plain_network().eval(), batch(1)
    with torch.no_grad():
        dense = student(data['lq'])
    accelerate_(student, config)
    image = student(data['lq'])
    (0.75 * (image - data['gt']).abs().mean() + 20 * ((image - dense) ** 2).mean()).backward()
    iterate(model, [1])
    assert_same_gradients(model.net_g, student)


def test_a_share_is_drawn_by_the_level_of_a_calibration(tmp_path):
    images = [torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(seed)) / (seed + 1) for seed in range(3)]
    calibrated = calibrate(plain_network().eval(), images, HighFrequencyMask(**SELECTION))
    calibrated.save(tmp_path / 'plain.amsr')
    model = AMSRModel(options(tmp_path, {'selection': None, 'calibration': str(tmp_path / 'plain.amsr')},
                              keep_range=(0.3, 0.3)))
    data = batch(1)
    data['lq'][0] *= 0.1
    seen = []
    run = CalibratedNetwork.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CalibratedNetwork, 'run', lambda self, net, x, patches, *args: seen.append((x, patches)) or run(
            self, net, x, patches, *args))
        model.feed_data(data)
        model.optimize_parameters(1)
    (x, patches), = seen
    assert torch.equal(patches, calibrated.selection(0.3).patches(x))
    assert patches[0].sum() < patches[1].sum()


@pytest.mark.parametrize('train', [{}, {'keep_range': [0.2, 0.8], 'amp': 'bf16', 'channels_last': True}])
def test_a_calibrated_network_is_trained_with_its_predictions(tmp_path, train):
    model = AMSRModel(options(tmp_path, calibration(tmp_path), ema_decay=0.5, **train))
    config, data = dataclasses.replace(model.net_g.amsr, mode='dense_masked'), batch(1)
    (log,) = iterate(model, [1])
    if train:
        assert 0.2 - 1 / 24 <= log['keep'] <= 0.8 + 1 / 24
    else:
        student, teacher = plain_network(), plain_network()
        accelerate_(student, config)
        image = student(data['lq'])
        with torch.no_grad():
            target = teacher(data['lq'])
        (0.75 * (image - data['gt']).abs().mean() + 20 * ((image - target) ** 2).mean()).backward()
        assert_same_gradients(model.net_g, student)
    model.feed_data(data)
    model.test()
    average = plain_network()
    average.load_state_dict(model.net_g_ema.state_dict())
    accelerate_(average, config)
    with torch.no_grad():
        torch.testing.assert_close(model.output, average(data['lq']), rtol=1e-4, atol=1e-4)
    model.save(0, 1)
    assert list(torch.load(tmp_path / 'models' / 'net_g_1.pth')['params']) == list(plain_network().state_dict())


def test_ratios_follow_from_seed_and_iteration_alone(tmp_path):
    opt = options(tmp_path, keep_range=[0.0, 1.0])
    keeps = [log['keep'] for log in iterate(AMSRModel(copy.deepcopy(opt)), range(1, 9))]
    assert len(set(keeps)) > 4 and min(keeps) < 0.4 < 0.6 < max(keeps)
    later = AMSRModel(copy.deepcopy(opt))
    torch.rand(7)
    assert [log['keep'] for log in iterate(later, range(5, 9))] == keeps[4:]
    assert later.net_g.amsr.selection.keep == 0.5
    later.feed_data(batch(0))
    later.test()
    assert float(later.net_g.last_keep) == 0.5


def test_validation_is_sparse_and_equals_the_form_that_trains(tmp_path, monkeypatch):
    opt = options(tmp_path, ema_decay=0.5)
    opt['network_g'] = {**opt['network_g'], 'backend': 'torch'}  # whose units are counted
    model = AMSRModel(opt)
    iterate(model, [1, 2, 3])
    trained = model.net_g
    average = copy.deepcopy(plain_network())
    average.load_state_dict(model.net_g_ema.state_dict())
    accelerate_(average, dataclasses.replace(trained.amsr, mode='dense_masked'))
    calls = []
    monkeypatch.setattr(skipping, 'run_unit', lambda *args, run=skipping.run_unit, **options: (
        calls.append(1), run(*args, **options))[1])
    model.feed_data(batch(0))
    model.test()
    assert len(calls) == 2  # units
    with torch.no_grad():
        torch.testing.assert_close(model.output, average(batch(0)['lq']), rtol=1e-5, atol=1e-5)
        assert (model.output - trained(batch(0)['lq'])).abs().max() > 1e-3
    assert trained.training


def test_the_average_is_that_of_the_weights(tmp_path):
    model = AMSRModel(options(tmp_path, ema_decay=0.75))
    expected = {name: value.clone() for name, value in model.net_g.named_parameters()}
    for iteration in (1, 2, 3):
        iterate(model, [iteration])
        for name, value in model.net_g.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * value.detach()
    for name, value in model.net_g_ema.named_parameters():
        torch.testing.assert_close(value, expected[name])


def test_the_teacher_is_frozen_and_in_no_file(tmp_path):
    model = AMSRModel(options(tmp_path, ema_decay=0.9))
    start = plain_network().state_dict()
    iterate(model, [1, 2])
    teacher = model.net_teacher
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(value, start[key]) for key, value in teacher.state_dict().items())
    optimized = {id(p) for group in model.optimizer_g.param_groups for p in group['params']}
    assert optimized == {id(p) for p in model.net_g.parameters()}
    model.save(0, 2)
    saved = torch.load(tmp_path / 'models' / 'net_g_2.pth', weights_only=True)
    assert saved.keys() == {'params', 'params_ema'}
    assert all(list(weights) == list(start) for weights in saved.values())
    state = torch.load(tmp_path / 'training_states' / '2.state', weights_only=True)
    assert len(state['optimizers'][0]['state']) == len(list(model.net_g.parameters()))
    assert sorted(p.name for p in (tmp_path / 'models').iterdir()) == ['net_g_2.pth']


def test_with_all_of_the_image_the_student_begins_as_its_teacher(tmp_path):
    model = AMSRModel(options(tmp_path, {'selection': {'keep': 1.0, 'patch_size': 4}}))
    first, second = iterate(model, [1, 2])
    assert first['l_teacher'] < 1e-10 < second['l_teacher'] and first['keep'] == 1


def test_the_teacher_may_have_weights_of_its_own(tmp_path):
    model = AMSRModel(options(tmp_path, path={'pretrain_network_teacher': plain_weights(tmp_path, seed=5)}))
    for net, seed in ((model.net_teacher, 5), (restore_(model.net_g), 0)):
        assert all(torch.equal(value, plain_network(seed).state_dict()[key]) for key, value in net.state_dict().items())


def test_without_a_teacher_it_may_start_from_nothing(tmp_path):
    model = AMSRModel(options(tmp_path, path={'pretrain_network_g': None}, teacher_opt=None))
    (log,) = iterate(model, [1])
    assert log.keys() == {'l_pix', 'keep'} and not hasattr(model, 'net_teacher')


def test_a_resumed_run_goes_on_bit_by_bit_with_the_teacher_of_its_start(tmp_path):
    opt = options(tmp_path, keep_range=[0.2, 0.8])
    expected = iterate(AMSRModel(copy.deepcopy(opt)), range(1, 7))
    model = resumed(tmp_path, opt, 3)
    assert iterate(model, range(4, 7)) == expected[3:]
    assert expected[3]['l_teacher'] > 0


@pytest.mark.parametrize(('train', 'tolerance'), [({'channels_last': True}, 1e-4), ({'amp': 'bf16'}, 0.03),
                                                  ({'channels_last': True, 'amp': 'bf16'}, 0.03)])
@pytest.mark.parametrize('network', [{}, {'budget': 0.9, 'selection': {'patch_size': 4}}], ids=['keep', 'budget'])
def test_accelerated_training_has_nearly_the_same_losses(tmp_path, network, train, tolerance):
    expected = iterate(AMSRModel(options(tmp_path, network)), range(1, 5))
    model = AMSRModel(options(tmp_path, network, **train))
    assert isinstance(model.net_g.forward, TrainingForward) and isinstance(model.net_teacher.forward, TrainingForward)
    for ours, theirs in zip(iterate(model, range(1, 5)), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)
        assert ours['keep'] == theirs['keep']
    model.feed_data(batch(0))
    model.test()
    assert model.output.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in model.net_g.parameters())


@pytest.mark.slow
def test_compiled_training_has_nearly_the_same_losses(tmp_path, caplog):
    expected = iterate(AMSRModel(options(tmp_path, keep_range=[0.2, 0.8])), range(1, 13))
    model = AMSRModel(options(tmp_path, keep_range=[0.2, 0.8], compile=True))
    for ours, theirs in zip(iterate(model, range(1, 13)), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert 'uncompiled' not in caplog.text


@pytest.mark.parametrize(('change', 'words'), [
    ({'network_g': PLAIN}, 'type is MSRResNet, but AMSRModel'),
    ({'network_g': {'mode': 'sparse'}}, 'mode: sparse has no gradients'),
    ({'network_g': {'backbone': {'type': 'SwinIR_light', 'use_checkpoint': True}}}, 'use_checkpoint'),
    ({'path': {'pretrain_network_g': None}}, 'the teacher has no weights'),
    ({'train': {'teacher_opt': None}, 'path': {'pretrain_network_teacher': 'x.pth'}}, 'no loss against the teacher'),
    ({'train': {'prediction_lr': 1e-3}}, 'there are no predictions to train'),
    ({'train': {'keep_range': [0.5, 0.2]}}, 'the least share first'),
    ({'train': {'keep_range': [0.5]}}, 'keep_range is .* 2 numbers from 0 to 1'),
    ({'train': {'keep_range': [0.2, 0.5]}, 'network_g': {'budget': 0.9}}, 'leave out network_g: budget'),
    ({'train': {'keep_range': [0.2, 0.5]}, 'network_g': {'selection': {'patch_size': 4, 'threshold': 0.1}}},
     'leave out network_g: selection: threshold'),
])
def test_what_cannot_be_trained_is_one_line(tmp_path, change, words):
    opt = options(tmp_path)
    for key, values in change.items():
        opt[key] = values if values is PLAIN else {**opt[key], **values}
    if 'budget' in opt['network_g']:
        del opt['network_g']['selection']
    with pytest.raises(UserError, match=words) as caught:
        AMSRModel(opt)
    assert '\n' not in str(caught.value)


def test_the_default_configuration_is_that_of_accelerate(tmp_path):
    model = AMSRModel(options(tmp_path, {'selection': None}))
    assert model.net_g.amsr == AMSRConfig()
