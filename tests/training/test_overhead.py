"""Averages, losses and prefetching: the results of BasicSR's own methods."""
import copy
import types
from collections import OrderedDict

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from basicsr.models.sr_model import SRModel
from torch.utils._python_dispatch import TorchDispatchMode

from basicsr_amsr.models.mended import mended
from basicsr_amsr.training.trained_model import TrainedModel
from tests.models.iterating import iterate
from tests.training.test_acceleration import NETWORK, sr_options


def model_with(net, average, **opt):
    model = TrainedModel({'num_gpu': 0, 'is_train': True, 'dist': False, **opt})
    model.net_g, model.net_g_ema = net, average
    return model


def test_the_average_is_the_formula_to_the_bit():
    torch.manual_seed(0)
    net, average = build_network(NETWORK), build_network(NETWORK)
    expected = copy.deepcopy(average)
    model_with(net, average).model_ema(0.999)
    for name, value in expected.named_parameters():
        formula = value.data * 0.999
        formula.add_(dict(net.named_parameters())[name].data, alpha=1 - 0.999)
        assert torch.equal(dict(average.named_parameters())[name], formula)
    model_with(net, average).model_ema(0)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), average.state_dict().values(), strict=True))


class Calls(TorchDispatchMode):
    """The names of the operators that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_the_average_takes_two_operations_for_all_parameters():
    model = model_with(build_network(NETWORK), build_network(NETWORK))
    with Calls() as calls:
        model.model_ema(0.999)
    assert calls.names == ['_foreach_mul_', '_foreach_add_']


def test_losses_stay_tensors_until_they_are_read():
    model = model_with(None, None)
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    model.log_dict = model.reduce_loss_dict(OrderedDict(l_a=value * 2, l_b=torch.tensor(0.5)))
    assert all(torch.is_tensor(v) and not v.requires_grad for v in model.log_dict.values())
    log = model.get_current_log()
    assert log == {'l_a': 3.0, 'l_b': 0.5} and list(log) == ['l_a', 'l_b']
    assert all(type(v) is float for v in log.values())
    with torch.no_grad():
        value.zero_()
    assert model.get_current_log() == {'l_a': 3.0, 'l_b': 0.5}


def test_a_model_may_log_numbers_of_its_own():
    model = model_with(None, None)
    model.log_dict = {'l_a': torch.tensor(1.5), 'keep': 0.25}
    assert model.get_current_log() == {'l_a': 1.5, 'keep': 0.25}
    model.log_dict = {}
    assert model.get_current_log() == {}


def test_a_fused_optimizer_trains_and_resumes(tmp_path):
    torch.manual_seed(0)
    fused, plain = sr_options(tmp_path), sr_options(tmp_path)
    fused['train']['optim_g']['fused'] = True
    model, reference = mended(SRModel)(fused), mended(SRModel)(plain)
    reference.net_g.load_state_dict(model.net_g.state_dict())
    start = copy.deepcopy(model.net_g.state_dict())
    losses = iterate(model, (1, 2, 3, 4))
    for ours, theirs in zip(losses, iterate(reference, (1, 2, 3, 4)), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    fused = sr_options(tmp_path)
    fused['train']['optim_g']['fused'] = True
    model = mended(SRModel)(fused)
    model.net_g.load_state_dict(start)
    iterate(model, (1, 2))
    model.save(0, 2)
    again = sr_options(tmp_path)
    again['train']['optim_g']['fused'] = True
    again['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_2.pth')
    model = mended(SRModel)(again)
    model.resume_training(torch.load(tmp_path / 'training_states/2.state', weights_only=False))
    assert iterate(model, (3, 4)) == losses[2:]


def test_a_gan_logs_all_its_losses(tmp_path):
    from basicsr.models.srgan_model import SRGANModel
    opt = sr_options(tmp_path, channels_last=True, amp='bf16')
    opt['network_d'] = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 2, 'input_size': 128}
    opt['path']['pretrain_network_d'] = None
    opt['train'].update(optim_d={'type': 'Adam', 'lr': 1e-3},
                        gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1})
    model = mended(SRGANModel)(opt)
    model.feed_data({'lq': torch.rand(2, 3, 64, 64), 'gt': torch.rand(2, 3, 128, 128)})
    model.optimize_parameters(1)
    log = model.get_current_log()
    assert set(log) == {'l_g_pix', 'l_g_gan', 'l_d_real', 'out_d_real', 'l_d_fake', 'out_d_fake'}
    assert all(type(value) is float for value in log.values())


def test_the_prefetcher_names_the_stream_that_uses_the_batch(monkeypatch):
    used = []

    class OnDevice(torch.Tensor):
        is_cuda = True

        def record_stream(self, stream):
            used.append(stream)

    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: types.SimpleNamespace(wait_stream=lambda stream: None))
    fetcher = CUDAPrefetcher.__new__(CUDAPrefetcher)
    fetcher.stream, fetcher.loader, fetcher.preload = None, iter(()), lambda: None
    fetcher.batch = {'lq': torch.rand(1).as_subclass(OnDevice), 'lq_path': ['a']}
    assert fetcher.next() is fetcher.batch and len(used) == 1
    fetcher.batch = None
    assert fetcher.next() is None and len(used) == 1


@pytest.mark.cuda
def test_on_cuda_the_average_follows_the_formula():
    net, average = build_network(NETWORK).cuda(), build_network(NETWORK).cuda()
    expected = [0.9 * a + 0.1 * p for a, p in zip(average.parameters(), net.parameters(), strict=True)]
    model_with(net, average).model_ema(0.9)
    for ours, formula in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(ours.data, formula.data)
