"""Which engine runs a network as a whole, by given costs and by stand-ins of OpenVINO."""
import copy
import logging
import pickle
import time
from functools import cache

import pytest
import torch
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_, measure_costs, restore_, whole
from basicsr_amsr.amsr.identity import whole_subject
from basicsr_amsr.bench.networks import by_name
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.model import CostModel
from basicsr_amsr.execution.cost.store import VARIABLE, Store
from basicsr_amsr.execution.cost.whole_costs import WholeCosts, measure_whole
from basicsr_amsr.execution.dense import compiled
from basicsr_amsr.execution.openvino import openvino_version
from basicsr_amsr.infer.upscaler import Upscaler
from tests.backbones.tiny import image, network
from tests.kernels import needs_kernels

AREA = 16 * 16


class Converter:
    """In place of OpenVINO: runs the network by torch with the weights that it had, and counts."""

    def __init__(self):
        self.made, self.ran, self.error, self.wrong = [], 0, None, 0.0

    def graph(self, net, x):
        if self.error:
            raise self.error
        self.made.append(tuple(x.shape))
        return copy.deepcopy(net)

    def session(self, graph, dtype, threads):
        def run(array):
            self.ran += 1
            with torch.no_grad():
                return (graph(torch.from_numpy(array)) + self.wrong).numpy()
        return run


@pytest.fixture
def converter(monkeypatch, tmp_path):
    """A package that is installed, and nothing measured so far."""
    found = Converter()
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'costs.json'))
    monkeypatch.setattr(model, 'MODEL', CostModel(Store(tmp_path / 'costs.json')))
    monkeypatch.setattr(compiled, 'openvino_graph', found.graph)
    monkeypatch.setattr(compiled, 'Session', found.session)
    for place in ('amsr.whole', 'amsr.identity', 'amsr.accelerate', 'amsr.config'):
        monkeypatch.setattr(f'basicsr_amsr.{place}.openvino_version', lambda: '1')
    return found


@cache
def traced(backend):
    net = network('SwinIR_light', 2)
    accelerate_(net, AMSRConfig(mode='dense', backend=backend))
    return net


def build(backend='auto'):
    """A network whose windows are torch's, as a whole."""
    return copy.deepcopy(traced(backend))


def know(net, x, native=None, torch=1.0, openvino=None, prepare=0.0):
    model.MODEL.keep(whole_subject(net), x, WholeCosts(x.shape[0] * x.shape[2] * x.shape[3], native, torch, openvino,
                                                       prepare))


def passes(net, x, number=1):
    with torch.no_grad():
        for _ in range(number):
            found = net(x)
    return found


def test_the_faster_engine_by_costs():
    costs = WholeCosts(AREA, 2.0, 3.0, 1.0, 9.0)
    assert costs.own == 'native' and costs.saving(AREA) == AREA and costs.saving(AREA, 1.01 * AREA) == 0
    assert costs.saving(AREA, 1.5 * AREA) == 0.5 * AREA
    assert WholeCosts(AREA, 3.0, 2.0, None, 9.0).own == WholeCosts(AREA, None, 2.0, 1.0, 9.0).own == 'torch'
    assert WholeCosts(AREA, 2.0, 3.0, None, 9.0).saving(AREA) == 0
    assert costs.fits(AREA // 2) and costs.fits(2 * AREA) and not costs.fits(2 * AREA + 1)
    for wrong in ((0, 1.0, 1.0, 1.0, 1.0), (AREA, 1.0, None, 1.0, 1.0), (AREA, 1.0, -1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match='no costs'):
            WholeCosts(*wrong)


def test_what_is_measured_is_the_median_of_turns():
    now = [0.0]

    def form(seconds):
        calls = iter([9.0, *seconds, *[seconds[-1]] * 9])  # the first one does not count
        return lambda: now.__setitem__(0, now[0] + next(calls))

    costs = measure_whole({'torch': form([2, 8, 2]), 'native': form([1]), 'openvino': form([0.5])}, 10, 7.0,
                          lambda: now[0])
    assert (costs.torch, costs.native, costs.openvino, costs.prepare) == pytest.approx((0.5, 0.1, 0.05, 7.0))


@pytest.mark.parametrize('batch', [1, 2])
def test_openvino_runs_once_it_would_have_paid(converter, batch):
    net, x = build(), image(batch, 3, 16, 16)
    plain = passes(restore_(copy.deepcopy(net)), x)
    know(net, x, torch=2.0, openvino=1.0, prepare=2.5 * batch * AREA)
    torch.testing.assert_close(passes(net, x, 2), plain, rtol=0, atol=1e-4)
    assert not converter.made
    torch.testing.assert_close(passes(net, x), plain, rtol=0, atol=1e-4)
    assert converter.made == [(1, 3, 16, 16)] and converter.ran == 2 * batch  # the first to compare
    passes(net, x)
    assert len(converter.made) == 1 and converter.ran == 3 * batch


def test_torch_runs_where_it_is_faster_or_as_fast(converter):
    net, x = build(), image(1, 3, 16, 16)
    know(net, x, torch=1.02, openvino=1.0)
    passes(net, x, 3)
    assert not converter.made


def test_of_the_kernels_and_torch_the_faster_runs(converter, monkeypatch):
    ran = []
    net, x = build(), image(1, 3, 16, 16)
    monkeypatch.setattr(whole, 'by_kernels', lambda net, x: ran.append('native') or x)
    monkeypatch.setattr(whole, 'by_torch', lambda net, x: ran.append('torch') or x)
    passes(net, x)
    know(net, x, native=2.0, torch=1.0)
    passes(net, x)
    assert ran == ['native', 'torch']


@needs_kernels
@pytest.mark.parametrize('config', [{'mode': 'dense'}, {'mode': 'auto'}])
def test_nothing_is_asked_of_a_network_that_is_native_as_a_whole(converter, config):
    net, x = network('EDSR', 2), image(1, 3, 16, 16)
    accelerate_(net, AMSRConfig(**config))
    net.amsr.selection.__dict__.update(keep=1.0)
    know(net, x, native=3.0, torch=2.0, openvino=1.0)
    passes(net, x, 2)
    with torch.no_grad():
        net.whole.settle(net, x)
    assert not converter.made


def test_it_is_tried_once_the_passes_took_as_long(converter, monkeypatch, caplog):
    net, x = build(), image(1, 3, 16, 16)
    monkeypatch.setattr(whole, 'PATIENCE', 1e9)
    passes(net, x)
    assert not converter.made
    monkeypatch.setattr(whole, 'PATIENCE', 0.0)
    with caplog.at_level(logging.INFO, 'basicsr'):
        passes(net, x)
    found = model.MODEL.find(whole_subject(net), x, WholeCosts)
    assert converter.made and found.openvino > 0 and found.prepare > 0 and found.native is None
    assert 'microseconds a pixel: torch' in caplog.text
    again = CostModel(model.MODEL.store)  # another process
    assert again.find(whole_subject(net), x, WholeCosts) == found


def test_costs_can_be_measured_before(converter, monkeypatch):
    net, x = build(), image(1, 3, 16, 16)
    monkeypatch.setattr(whole, 'measure_whole', lambda forms, *_: WholeCosts(AREA, None, 2.0, 1.0, 1e9))
    assert measure_costs(net, x) is None and len(converter.made) == 1
    passes(net, x)
    assert converter.ran == 2
    passes(net, image(1, 3, 16, 12))  # another size has to pay first
    assert len(converter.made) == 1


def test_what_skips_is_beside_it(converter, monkeypatch):
    """Where the sparse form would run, OpenVINO has to be faster than that."""
    net, x = network('SwinIR_light', 2), image(1, 3, 16, 16)
    accelerate_(net, AMSRConfig())
    for sparse, made in ((1.01, 0), (1.5, 1)):
        monkeypatch.setattr(model.MODEL, 'costs', lambda *_, sparse=sparse: model.Costs(AREA, 2.0, sparse, 0.0))
        know(net, x, torch=2.0, openvino=1.0)
        passes(net, x)
        assert len(converter.made) == made and (net.last_keep == 1) == bool(made)


@pytest.mark.parametrize('step', [
    lambda net: next(net.parameters()).data.add_(0.1), lambda net: next(net.parameters()).mul_(1.5),
    lambda net: net.load_state_dict({**net.state_dict(), 'conv_first.weight': 2 * net.conv_first.weight}),
    lambda net: net.conv_first.register_parameter('bias', nn.Parameter(torch.ones_like(net.conv_first.bias)))])
@torch.no_grad()
def test_weights_are_followed(converter, step):
    net, x = build(), image(1, 3, 16, 16)
    know(net, x, torch=2.0, openvino=1.0)
    before = passes(net, x)
    step(net)
    found = passes(net, x)
    assert len(converter.made) == 2 and not torch.allclose(found, before)
    torch.testing.assert_close(found, passes(restore_(copy.deepcopy(net)), x), rtol=0, atol=1e-4)


def test_few_sizes_are_kept(converter):
    net = build()
    for side in (8, 12, 16, 20, 24, 24, 20):
        x = image(1, 3, side, 8)
        know(net, x, torch=2.0, openvino=1.0)
        passes(net, x)
    assert len(net.whole.compiled) == compiled.MOST and len(converter.made) == 5


@pytest.mark.parametrize('error', [RuntimeError('Operator aten::x\nis unknown'), MemoryError()])
def test_what_it_cannot_convert_is_one_line(converter, error, caplog):
    net, x = build(), image(1, 3, 16, 16)
    plain = passes(restore_(copy.deepcopy(net)), x)
    know(net, x, torch=2.0, openvino=1.0)
    converter.error = error
    with caplog.at_level(logging.INFO, 'basicsr'):
        found = passes(net, x, 3)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-4)
    line, = [record for record in caplog.records if 'not by OpenVINO' in record.message]
    assert line.levelno == logging.INFO and '\n' not in line.message


@pytest.mark.parametrize(('error', 'tried'), [(MemoryError(), 1), (RuntimeError('Operator aten::x is unknown'), 0)])
def test_where_memory_is_short_for_a_size_another_is_tried(converter, error, tried):
    net, x, smaller = build(), image(1, 3, 16, 16), image(1, 3, 8, 8)
    for each in (x, smaller):
        know(net, each, torch=2.0, openvino=1.0)
    converter.error = error
    passes(net, x)
    converter.error = None
    passes(net, x, 2)
    assert converter.made == []
    passes(net, smaller, 2)
    assert len(converter.made) == tried


def test_a_trial_that_had_no_memory_is_not_kept(converter):
    net, x = build(), image(1, 3, 16, 16)
    converter.error = MemoryError()
    measure_costs(net, x)
    assert CostModel(model.MODEL.store).find(whole_subject(net), x, WholeCosts) is None


def test_a_failing_trial_is_kept_too(converter, monkeypatch):
    net, x = build(), image(1, 3, 16, 16)
    converter.error = RuntimeError('no')
    measure_costs(net, x)
    found = CostModel(model.MODEL.store).find(whole_subject(net), x, WholeCosts)
    assert found.openvino is None and found.torch > 0


def test_another_picture_is_not_taken(converter, caplog):
    net, x = build(), image(1, 3, 16, 16)
    know(net, x, torch=2.0, openvino=1.0)
    converter.wrong = 0.1
    with caplog.at_level(logging.INFO, 'basicsr'):
        found = passes(net, x)
    torch.testing.assert_close(found, passes(restore_(copy.deepcopy(net)), x), rtol=0, atol=1e-4)
    assert 'its picture differs by' in caplog.text


def test_without_the_package_there_is_nothing_to_choose(converter, monkeypatch):
    for place in ('amsr.whole', 'amsr.identity', 'amsr.accelerate', 'amsr.config'):
        monkeypatch.setattr(f'basicsr_amsr.{place}.openvino_version', lambda: None)
    with pytest.raises(UserError, match=r'native kernels'):  # and the network is left to torch
        accelerate_(network('SwinIR_light', 2), AMSRConfig(mode='dense'))
    with pytest.raises(UserError, match='backend: openvino is not installed'):
        AMSRConfig(mode='dense', backend='openvino')
    net, x = network('SwinIR_light', 2), image(1, 3, 16, 16)
    accelerate_(net, AMSRConfig())
    know(net, x, torch=2.0, openvino=1.0)
    with torch.no_grad():
        assert not net.whole.is_faster(net, x) and net.whole.image(net, x) is None
    assert not converter.made


@needs_kernels
def test_an_engine_by_name(converter):
    x = image(1, 3, 16, 16)
    passes(build(backend='openvino'), x)
    assert converter.made
    with pytest.raises(UserError, match='native kernels would do'):
        build(backend='native')
    with pytest.raises(UserError, match='backend: openvino runs whole networks, mode: dense'):
        AMSRConfig(backend='openvino')


def test_only_where_nobody_watches(converter):
    net, x = build(), image(1, 3, 16, 16)
    know(net, x, torch=2.0, openvino=1.0)
    with model.undecided():
        passes(net, x)
    hook = net.conv_first.register_forward_hook(lambda *_: None)
    passes(net, x)
    hook.remove()
    assert not converter.made
    passes(net, x)
    copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    assert len(converter.made) == 1 and [len(each.whole.compiled) for each in (net, *copies)] == [1, 0, 0]


@needs_kernels
def test_infer_takes_it(converter):
    net = network('SwinIR_light', 2)
    upscale = Upscaler(net, dtype='fp32')
    assert upscale.form.kind == 'dense' and 'PyTorch or OpenVINO' in str(upscale.form)
    x = image(1, 3, 16, 16)
    know(upscale.network.net, x.contiguous(memory_format=torch.channels_last), torch=2.0, openvino=1.0)
    upscale(x)
    assert converter.made


@pytest.mark.skipif(openvino_version() is None, reason='openvino is not installed')
def test_openvino_itself_gives_the_same_pictures(recwarn):
    net, x = build('openvino'), image(2, 3, 16, 24)
    plain = passes(restore_(copy.deepcopy(net)), x)
    torch.testing.assert_close(passes(net, x), plain, rtol=0, atol=1e-4)
    with torch.autocast('cpu', torch.bfloat16):
        rounded = passes(net, x)
    assert rounded.dtype == torch.float32 and 0 < (rounded - plain).abs().max() < 0.1
    assert len(net.whole.compiled) == 2
    assert not [each for each in recwarn if each.category is torch.jit.TracerWarning]


@pytest.mark.slow
@pytest.mark.skipif(openvino_version() is None, reason='openvino is not installed')
@pytest.mark.parametrize('name', ['SwinIR_light', 'CARN_M'])
def test_auto_is_within_tolerance_of_the_best(name, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'costs.json'))
    nets, x = {}, torch.rand(1, 3, 96, 96)
    plain = restore_(by_name(name, 4).build().net).eval()
    for engine in ('auto', 'native', 'openvino'):
        nets[engine] = copy.deepcopy(plain)
        try:
            accelerate_(nets[engine], AMSRConfig(mode='dense', backend=engine))
        except UserError:  # which is no engine of this network
            del nets[engine]
    nets['torch'] = plain.to(memory_format=torch.channels_last)
    measure_costs(nets['auto'], x)
    pictures = {engine: passes(net, x) for engine, net in nets.items()}
    for picture in pictures.values():
        torch.testing.assert_close(picture, pictures['torch'], rtol=0, atol=1e-4)
    times = {engine: [] for engine in nets}
    for _ in range(9):
        for engine, net in nets.items():
            began = time.perf_counter()
            passes(net, x)
            times[engine].append(time.perf_counter() - began)
    best = {engine: min(taken) for engine, taken in times.items()}
    assert best['auto'] < 1.15 * min(best.values()), best  # a machine shared with others
