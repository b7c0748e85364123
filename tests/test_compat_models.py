"""compat: what BasicSR's models, registries, metrics and degradations do on today's stack."""
from __future__ import annotations

import logging
import os
from collections import Counter

import basicsr.data.degradations
import basicsr.metrics.fid
import basicsr.train
import cv2
import numpy as np
import pytest
import scipy.linalg
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import Registry
from torch import nn

from basicsr_amsr.compat.registry_get import get
from basicsr_amsr.errors import UserError
from basicsr_amsr.models.mended import mended
from basicsr_amsr.training.trained_model import TrainedModel

NET = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}


class RunsCode:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def options(tmp_path, **more):
    path = {'models': str(tmp_path / 'models'), 'training_states': str(tmp_path / 'states')}
    for folder in path.values():
        os.makedirs(folder, exist_ok=True)
    return {'name': 'x', 'num_gpu': 0, 'dist': False, 'is_train': False, 'auto_resume': False,
            'root_path': str(tmp_path), 'network_g': dict(NET), 'path': path, **more}


def network():
    return MSRResNet(**{k: v for k, v in NET.items() if k != 'type'})


def one_line(error):
    assert '\n' not in str(error.value)
    return str(error.value)


# registry


class Thing:
    pass


def test_registry_is_silent_and_finds_the_suffixed_name(capsys):
    registry = Registry('thing')
    registry.register(Thing, suffix='basicsr')
    assert registry.get('Thing') is Thing
    assert capsys.readouterr().out == ''


def test_missing_name_is_one_plain_line_with_near_names(capsys):
    registry = Registry('thing')
    registry.register(Thing)
    for lookup in (registry.get, lambda name: get(registry, name)):
        with pytest.raises(KeyError) as error:
            lookup('Thign')
        assert isinstance(error.value, UserError)
        assert str(error.value) == "No thing named 'Thign'. Did you mean Thing?"
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('name', [None, 3, ''])
def test_a_name_that_is_no_name(name):
    with pytest.raises(UserError, match='There is none'):
        Registry('thing').get(name)


# devices


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)


def test_num_gpu_without_cuda_runs_on_the_cpu_with_one_warning(no_cuda, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, 'basicsr_amsr'):
        model = mended(SRModel)(options(tmp_path, num_gpu=2))
    assert model.device.type == 'cpu' and model.opt['num_gpu'] == 0
    assert next(model.net_g.parameters()).device.type == 'cpu'
    assert [r.getMessage() for r in caplog.records] == [
        'num_gpu is 2, but no CUDA device is available: running on the CPU.']


def test_auto_is_silent_without_cuda(no_cuda, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, 'basicsr_amsr'):
        assert mended(SRModel)(options(tmp_path, num_gpu='auto')).opt['num_gpu'] == 0
    assert not caplog.records


def test_datasets_lose_what_needs_cuda(no_cuda, tmp_path):
    datasets = {'train': {'prefetch_mode': 'cuda', 'pin_memory': True}, 'val': {'prefetch_mode': 'cpu'}}
    opt = options(tmp_path, num_gpu=1, datasets=datasets)
    TrainedModel(opt)
    assert opt['datasets'] == {'train': {'prefetch_mode': None, 'pin_memory': False}, 'val': {'prefetch_mode': 'cpu'}}


def test_with_cuda_nothing_changes(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    opt = options(tmp_path, num_gpu=1, datasets={'train': {'prefetch_mode': 'cuda', 'pin_memory': True}})
    assert TrainedModel(opt).device.type == 'cuda' and opt['num_gpu'] == 1
    assert opt['datasets'] == {'train': {'prefetch_mode': 'cuda', 'pin_memory': True}}
    opt = options(tmp_path, num_gpu='auto')
    assert TrainedModel(opt).device.type == 'cuda' and opt['num_gpu'] == 2


# checkpoints


def prefixed(state):
    return {f'module.{k}': v for k, v in state.items()}


@pytest.mark.parametrize(('wrap', 'param_key', 'chosen'), [
    (lambda a, b: {'params': a, 'params_ema': b}, 'params', 0),
    (lambda a, b: {'params': a, 'params_ema': b}, 'params_ema', 1),
    (lambda a, b: {'params': a}, 'params_ema', 0),  # BasicSR's fallback
    (lambda a, b: {'params_ema': b}, 'params', 1),
    (lambda a, b: a, 'params', 0),
    (lambda a, b: a, None, 0),
    (lambda a, b: {'params': prefixed(a)}, 'params', 0),
    (lambda a, b: prefixed(b), 'params_ema', 1),
    (lambda a, b: {'mine': b, 'params': a}, 'mine', 1),
])
def test_load_network(tmp_path, wrap, param_key, chosen):
    model, sources = TrainedModel(options(tmp_path)), [network(), network()]
    file = tmp_path / 'net.pth'
    torch.save(wrap(*(s.state_dict() for s in sources)), file)
    net = network()
    model.load_network(nn.DataParallel(net), str(file), True, param_key)
    for key, value in net.state_dict().items():
        assert torch.equal(value, sources[chosen].state_dict()[key])


def test_load_network_of_a_real_run(tmp_path):
    model = mended(SRModel)(options(tmp_path))
    model.save_network([model.net_g], 'net_g', 5)
    again = mended(SRModel)(options(tmp_path, path={'pretrain_network_g': str(tmp_path / 'models' / 'net_g_5.pth')}))
    for key, value in again.net_g.state_dict().items():
        assert torch.equal(value, model.net_g.state_dict()[key])


def misfits():
    state = network().state_dict()
    first = next(iter(state))
    yield 'missing', {k: v for k, v in state.items() if k != first}, first
    yield 'extra', {**state, 'other.weight': torch.zeros(1)}, 'other.weight'
    yield 'shape', {**state, 'body.0.conv1.bias': torch.zeros(1, 2)}, '(1, 2)'
    yield 'variant', MSRResNet(3, 3, num_feat=8, num_block=1, upscale=2).state_dict(), 'num_feat 8'


@pytest.mark.parametrize(('state', 'named'), [pytest.param(s, n, id=i) for i, s, n in misfits()])
def test_a_misfit_is_one_line_and_changes_nothing(tmp_path, state, named):
    file, net = tmp_path / 'net.pth', network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.save({'params': state}, file)
    with pytest.raises(UserError) as error:
        TrainedModel(options(tmp_path)).load_network(net, str(file))
    assert str(file) in one_line(error) and 'MSRResNet' in str(error.value) and named in str(error.value)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize('state', [pytest.param(s, id=i) for i, s, _ in misfits()])
def test_not_strict_loads_what_fits(tmp_path, state):
    file, net = tmp_path / 'net.pth', network()
    torch.save({'params': state}, file)
    TrainedModel(options(tmp_path)).load_network(net, str(file), strict=False)
    for key, value in net.state_dict().items():
        assert key not in state or state[key].shape != value.shape or torch.equal(value, state[key])


@pytest.mark.parametrize('content', [{'optimizer': {}, 'step': 3}, [1, 2], {}, {'params': {}}, {'params': 3}])
def test_no_weights_in_the_file(tmp_path, content):
    file = tmp_path / 'net.pth'
    torch.save(content, file)
    with pytest.raises(UserError) as error:
        TrainedModel(options(tmp_path)).load_network(network(), str(file))
    assert str(file) in one_line(error)


def test_checkpoint_that_runs_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    file = tmp_path / 'net.pth'
    torch.save({'params': network().state_dict(), 'extra': RunsCode(tmp_path / 'made')}, file)
    with pytest.raises(UserError) as error:
        mended(SRModel)(options(tmp_path, path={'pretrain_network_g': str(file)}))
    assert str(file) in one_line(error)
    assert not (tmp_path / 'made').exists()


def test_missing_checkpoint(tmp_path):
    with pytest.raises(UserError, match='not found') as error:
        mended(SRModel)(options(tmp_path, path={'pretrain_network_g': str(tmp_path / 'none.pth')}))
    assert 'none.pth' in one_line(error)


# resume


STATE = {'epoch': 2, 'iter': 30, 'optimizers': [{'state': {0: {'step': torch.tensor(3.)}}, 'param_groups': []}],
         'schedulers': [{'milestones': Counter([4, 8])}]}


def test_auto_resume_takes_the_latest_state_of_this_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = options(tmp_path / 'root', auto_resume=True)
    folder = tmp_path / 'root' / 'states'
    for name in ('4.state', '30.state', '200.state.tmp', 'latest.state'):
        torch.save({**STATE, 'iter': 4} if name == '4.state' else STATE, folder / name)
    for iteration in (4, 30):
        torch.save({'params': network().state_dict()}, tmp_path / 'root' / 'models' / f'net_g_{iteration}.pth')
    elsewhere = tmp_path / 'experiments' / 'x' / 'training_states'  # where BasicSR looks, from the working directory
    elsewhere.mkdir(parents=True)
    torch.save({**STATE, 'iter': 999}, elsewhere / '999.state')
    state = basicsr.train.load_resume_state(opt)
    assert state['iter'] == 30 and state['schedulers'][0]['milestones'] == Counter([4, 8])
    assert opt['path']['resume_state'] == str(folder / '30.state')
    assert opt['path']['pretrain_network_g'] == str(tmp_path / 'root' / 'models' / 'net_g_30.pth')


def test_fresh_start(tmp_path):
    assert basicsr.train.load_resume_state(options(tmp_path, auto_resume=True)) is None
    assert basicsr.train.load_resume_state(options(tmp_path)) is None


def test_resume_from_a_named_file_and_an_optimizer_goes_on(tmp_path):
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    net(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    file = tmp_path / '30.state'
    torch.save({**STATE, 'optimizers': [optimizer.state_dict()]}, file)
    opt = options(tmp_path)
    opt['path']['resume_state'] = str(file)
    state = basicsr.train.load_resume_state(opt)
    again = torch.optim.Adam(network().parameters(), 1)
    again.load_state_dict(state['optimizers'][0])
    assert again.param_groups[0]['lr'] == 1e-3
    moments = [s['exp_avg'] for s in optimizer.state.values()]
    assert all(torch.equal(a, s['exp_avg']) for a, s in zip(moments, again.state.values(), strict=True))


def bad_states(tmp_path):
    torch.save({'params': {}}, tmp_path / '1.state')
    torch.save([1], tmp_path / '2.state')
    torch.save({**STATE, 'more': RunsCode(tmp_path / 'made')}, tmp_path / '3.state')
    (tmp_path / '4.state').write_bytes((tmp_path / '3.state').read_bytes()[:200])
    return [tmp_path / f'{i}.state' for i in range(1, 6)]  # 5.state is missing


@pytest.mark.parametrize('number', range(5))
def test_bad_state_is_one_line_naming_the_file(tmp_path, monkeypatch, number):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    file = bad_states(tmp_path)[number]
    opt = options(tmp_path)
    opt['path']['resume_state'] = str(file)
    with pytest.raises(UserError) as error:
        basicsr.train.load_resume_state(opt)
    assert str(file) in one_line(error)
    assert not (tmp_path / 'made').exists()


# numerics


@pytest.mark.parametrize('quality', [30.4, 30, np.float64(30.2), np.random.default_rng(0).uniform(29.6, 30.4)])
def test_jpeg_quality_is_rounded(quality):
    image = np.random.default_rng(1).random((16, 24, 3)).astype(np.float32)
    got = basicsr.data.degradations.add_jpg_compression(image, quality)
    code = cv2.imencode('.jpg', image * 255., [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    assert got.dtype == np.float32 and got.shape == image.shape
    assert np.array_equal(got, np.float32(cv2.imdecode(code, 1)) / 255)


def test_random_jpeg_uses_it():
    image = np.random.default_rng(1).random((16, 24, 3)).astype(np.float32)
    got = basicsr.data.degradations.random_add_jpg_compression(image, (30, 90))
    assert got.shape == image.shape and got.min() >= 0 and got.max() <= 1


def test_fid_against_the_matrix_root(monkeypatch):
    root_of = scipy.linalg.sqrtm
    monkeypatch.setattr(scipy.linalg, 'sqrtm', lambda matrix: root_of(matrix))  # SciPy 1.18: no `disp`
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 6)), rng.normal(size=(50, 6)) * 1.5 + 0.3
    means, covs = (a.mean(0), b.mean(0)), (np.cov(a, rowvar=False), np.cov(b, rowvar=False))
    root = root_of(covs[0] @ covs[1]).real
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covs[0] + covs[1] - 2 * root)
    got = basicsr.metrics.fid.calculate_fid(means[0], covs[0], means[1], covs[1])
    assert got == pytest.approx(expected, rel=1e-10)


def test_fid_of_singular_covariances():
    one = np.diag([1., 0., 0.])
    assert basicsr.metrics.fid.calculate_fid(np.zeros(3), one, np.zeros(3), 4 * one) == pytest.approx(1.)
    assert basicsr.metrics.fid.calculate_fid(np.ones(3), one, np.ones(3), one) == pytest.approx(0., abs=1e-12)
