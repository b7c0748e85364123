"""Channels-last, bf16 and compiled training: the same network outside, nearly the same numbers."""
import copy
import logging
import pickle

import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.models.sr_model import SRModel

from basicsr_amsr import UserError
from basicsr_amsr.models.mended import mended
from basicsr_amsr.models.mga_model import MGAModel
from basicsr_amsr.training.acceleration import Acceleration, TrainingForward, training_forward
from basicsr_amsr.training.trained_model import TrainedModel
from tests.models.iterating import batch, iterate
from tests.models.test_mga_model import options as mga_options

NETWORK = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 2}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def accelerated(net, **train):
    twin = copy.deepcopy(net)
    Acceleration.from_options(train).apply(twin)
    return twin


def gradients(net, x):
    net.zero_grad()
    output = net(x)
    (output - x.mean()).abs().mean().backward()
    return output, [p.grad for p in net.parameters()]


def sr_options(tmp_path, **train):
    opt = mga_options(tmp_path)
    opt['network_g'] = dict(NETWORK)
    opt['train'] = {'total_iter': 4, 'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'L1Loss'},
                    'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}, **train}
    return opt


def test_channels_last_is_equal_to_rounding():
    net = build_network(NETWORK)
    x = torch.rand(2, 3, 11, 9)
    (plain, expected), (ours, grads) = gradients(net, x), gradients(accelerated(net, channels_last=True), x)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    for grad, reference in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, reference, rtol=1e-4, atol=1e-7)


def test_bf16_is_near_and_comes_out_as_float32():
    net = build_network(NETWORK)
    x = torch.rand(2, 3, 12, 12)
    (plain, _), (ours, grads) = gradients(net, x), gradients(accelerated(net, amp='bf16'), x)
    assert ours.dtype == torch.float32 and all(grad.dtype == torch.float32 for grad in grads)
    difference = (ours - plain).abs().max()
    assert 0 < difference < 0.02  # of 0–1; bf16 has 8 bits


def test_validation_is_plain_float32_to_the_bit():
    net = build_network(NETWORK)
    twin = accelerated(net, amp='bf16', compile=True)
    with torch.no_grad():
        assert torch.equal(twin(torch.ones(1, 3, 7, 5)), net(torch.ones(1, 3, 7, 5)))


def test_the_network_stays_itself_also_as_a_copy():
    net = build_network(NETWORK)
    twin = accelerated(net, channels_last=True, amp='bf16')
    assert type(twin) is MSRResNet and list(twin.state_dict()) == list(net.state_dict())
    assert dict(twin.named_modules()).keys() == dict(net.named_modules()).keys()
    for again in (copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))):
        assert again.forward.net is again and isinstance(again.forward, TrainingForward)
        with torch.no_grad():
            again.conv_last.bias += 1
        difference = again(torch.zeros(1, 3, 4, 4)) - twin(torch.zeros(1, 3, 4, 4))
        torch.testing.assert_close(difference, torch.ones_like(difference), rtol=0, atol=0.02)
    forward = twin.forward
    Acceleration.from_options({'compile': True}).apply(twin)
    assert twin.forward is forward


def test_nothing_asked_for_changes_nothing():
    net = accelerated(build_network(NETWORK), channels_last=False, amp=None, compile=False)
    assert 'forward' not in net.__dict__ and training_forward(net) is net


class TwoOutputs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)

    def forward(self, x, scale=1):
        y = self.layer(x) * scale
        return {'image': y, 'list': [y, (y, 3)], 'count': torch.tensor(2)}


def test_structured_outputs_and_keywords():
    net = accelerated(TwoOutputs(), amp='bf16', channels_last=True)
    output = net(torch.rand(1, 3, 4, 4), scale=2)
    image = output['image']
    assert image.dtype == torch.float32 and image.is_contiguous()
    assert torch.equal(image, output['list'][0]) and torch.equal(image, output['list'][1][0])
    assert output['list'][1][1] == 3 and output['count'].dtype == torch.int64


def test_what_cannot_be_compiled_trains_uncompiled_with_one_line(caplog):
    def broken(graph, inputs):
        raise RuntimeError('no compiler here\nand a page of details')

    net = build_network(NETWORK)
    twin = accelerated(net, compile=True)
    torch._dynamo.reset()
    twin.forward.compiled = torch.compile(twin.forward.plain, backend=broken)
    x = torch.rand(1, 3, 6, 6)
    with caplog.at_level(logging.WARNING, 'basicsr_amsr'):
        assert torch.equal(twin(x), net(x)) and torch.equal(twin(x), net(x))
    messages = [record.getMessage() for record in caplog.records if record.name == 'basicsr_amsr']
    assert len(messages) == 1 and '\n' not in messages[0]
    assert 'MSRResNet' in messages[0] and 'no compiler here' in messages[0]


class Flattens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(64, 1)

    def forward(self, x):
        return self.linear(self.conv(x).view(len(x), -1))


def test_a_network_that_needs_the_usual_layout_gets_it_with_one_line(caplog):
    net = Flattens()
    twin = accelerated(net, channels_last=True)
    x = torch.rand(2, 3, 6, 6)
    with caplog.at_level(logging.WARNING, 'basicsr_amsr'):
        assert torch.equal(twin(x), net(x)) and torch.equal(twin(x), net(x))
    assert len(caplog.messages) == 1 and 'train:channels_last: Flattens' in caplog.text
    assert twin.conv.weight.is_contiguous()


def test_an_error_of_the_network_itself_stays_an_error():
    twin = accelerated(build_network(NETWORK), compile=True)
    twin.forward.compiled = torch.compile(twin.forward.plain, backend='eager')
    with pytest.raises(RuntimeError, match='channels'):
        twin(torch.rand(1, 5, 6, 6))


@pytest.mark.parametrize('train, word', [
    ({'amp': 'fp16'}, 'bf16'), ({'amp': 'bfloat'}, 'bf16'), ({'amp': True}, 'bf16'), ({'channels_last': 'yes'}, 'true'),
    ({'compile': 'max'}, 'mode'), ({'compile': {'mod': 'default'}}, "'mod'"),
    ({'compile': {'mode': 'reduce_overhead'}}, 'reduce-overhead'), ({'compile': 3}, 'mode')])
def test_values_that_are_not_possible(train, word):
    with pytest.raises(UserError, match=word) as error:
        Acceleration.from_options(train)
    assert str(error.value).startswith('train:') and '\n' not in str(error.value)


def test_several_gpus_in_one_process_are_refused(tmp_path):
    model = TrainedModel({**sr_options(tmp_path, amp='bf16'), 'num_gpu': 0})
    model.opt['num_gpu'] = 2
    with pytest.raises(UserError, match='torchrun'):
        model.model_to_device(build_network(NETWORK))


@pytest.mark.parametrize('train', [{'channels_last': True}, {'amp': 'bf16', 'channels_last': True}])
@pytest.mark.parametrize('ema_decay', [0.0, 0.9])
def test_basicsr_trains_saves_and_resumes(tmp_path, train, ema_decay):
    model = mended(SRModel)(sr_options(tmp_path, ema_decay=ema_decay, **train))
    start = copy.deepcopy(model.net_g.state_dict())
    expected = iterate(model, (1, 2, 3, 4))
    model.feed_data(batch(0))
    model.test()
    with torch.no_grad():
        plain = build_network(NETWORK)
        plain.load_state_dict((model.net_g_ema if ema_decay else model.net_g).state_dict())
        torch.testing.assert_close(model.output, plain(batch(0)['lq']), rtol=1e-5, atol=1e-6)

    model = mended(SRModel)(sr_options(tmp_path, ema_decay=ema_decay, **train))
    model.net_g.load_state_dict(start)
    assert iterate(model, (1, 2)) == expected[:2]
    model.save(0, 2)
    saved = torch.load(tmp_path / 'models/net_g_2.pth', weights_only=True)['params']
    assert list(saved) == list(plain.state_dict())
    state = torch.load(tmp_path / 'training_states/2.state', weights_only=False)
    opt = sr_options(tmp_path, ema_decay=ema_decay, **train)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_2.pth')
    model = mended(SRModel)(opt)
    model.resume_training(state)
    assert iterate(model, (3, 4)) == expected[2:]


@pytest.mark.parametrize('train, tolerance', [({'channels_last': True}, 1e-4), ({'amp': 'bf16'}, 0.05)])
def test_every_step_of_mga_trains_so_with_nearly_the_same_losses(tmp_path, train, tolerance):
    plain = MGAModel(mga_options(tmp_path))
    opt = mga_options(tmp_path)
    opt['train'].update(train)
    ours = MGAModel(opt)
    ours.net_g.load_state_dict(plain.net_g.state_dict())
    expected, losses = iterate(plain, range(1, 10)), iterate(ours, range(1, 10))
    for ours_, theirs in zip(losses, expected, strict=True):
        assert ours_.keys() == theirs.keys()
        for key, value in ours_.items():
            assert value == pytest.approx(theirs[key], rel=tolerance)
    assert isinstance(ours.get_bare_model(ours.net_g).forward, TrainingForward)


def test_step_m_computes_its_target_as_in_training(tmp_path, monkeypatch):
    opt = mga_options(tmp_path)
    opt['train']['amp'] = 'bf16'
    model = MGAModel(opt)
    model.enter_step(2)
    enabled = []
    refine = model.net_g.refine
    monkeypatch.setattr(refine, 'forward', lambda *args, plain=refine.forward, **kwargs: (
        enabled.append(torch.is_autocast_enabled('cpu')), plain(*args, **kwargs))[1])
    iterate(model, (7,))
    assert enabled == [True]
    model.feed_data(batch(0))
    model.test()
    assert enabled == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize('train', [{'compile': True}, {'compile': True, 'amp': 'bf16', 'channels_last': True}])
def test_compiled_equals_uncompiled(tmp_path, train):
    net = build_network(NETWORK)
    x = torch.rand(2, 3, 12, 12)
    uncompiled = {key: value for key, value in train.items() if key != 'compile'}
    (plain, expected), (ours, grads) = (gradients(accelerated(net, **options), x) for options in (uncompiled, train))
    near = {'rtol': 1e-4, 'atol': 1e-5} if 'amp' not in train else {'rtol': 0.05, 'atol': 0.01}
    torch.testing.assert_close(ours, plain, **near)
    for grad, reference in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, reference, **near)


@pytest.mark.slow
def test_every_step_of_mga_trains_compiled(tmp_path, caplog):
    plain, opt = MGAModel(mga_options(tmp_path)), mga_options(tmp_path)
    opt['train']['compile'] = {'mode': 'default'}
    ours = MGAModel(opt)
    ours.net_g.load_state_dict(plain.net_g.state_dict())
    expected, losses = iterate(plain, range(1, 10)), iterate(ours, range(1, 10))
    for ours_, theirs in zip(losses, expected, strict=True):
        assert ours_ == pytest.approx(theirs, rel=1e-3)
    assert 'uncompiled' not in caplog.text


@pytest.mark.cuda
@pytest.mark.parametrize('train', [{'channels_last': True}, {'amp': 'bf16'}, {'compile': True},
                                   {'channels_last': True, 'amp': 'bf16', 'compile': True}])
def test_on_cuda_near_float32(train):
    net = build_network(NETWORK).cuda()
    x = torch.rand(4, 3, 32, 32, device='cuda')
    (plain, _), (ours, grads) = gradients(net, x), gradients(accelerated(net, **train), x)
    assert ours.dtype == torch.float32 and all(grad.dtype == torch.float32 for grad in grads)
    torch.testing.assert_close(ours, plain, rtol=0, atol=0.02)
