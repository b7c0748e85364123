"""`mode: auto`: skip, or run the plain network where that is faster, by invented times."""
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_, decision, measure_costs, restore_
from basicsr_amsr.amsr.calibration.choose import Meter, Trial, calibrate
from basicsr_amsr.amsr.decision import Probes
from basicsr_amsr.amsr.identity import structure_of, subject_of
from basicsr_amsr.amsr.twin import twin_of
from basicsr_amsr.bench.networks import by_name
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.costs import Costs
from basicsr_amsr.execution.cost.model import CostModel
from basicsr_amsr.execution.cost.store import VARIABLE, Store
from basicsr_amsr.execution.cost.whole_costs import WholeCosts
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.training import validation
from tests.backbones.tiny import image, network
from tests.cli.conftest import basicsr, options_to_test, project  # noqa: F401

HALF = HighFrequencyMask(keep=0.5, patch_size=4, smooth=3)
DENSE_ABOVE = 0.6
KINDS = ['EDSR', 'RCAN', 'SwinIR_light', 'calibrated']


class Stub:
    """A cost model by which dense is the faster one above a share."""

    def __init__(self, edge):
        self.answer, self.asked = Costs(10**6, 1.0, 0.0, 1.0 / edge, limited=True), []

    def costs(self, subject, x, probe_of):
        self.asked.append((subject, tuple(x.shape)))
        return self.answer

    def find(self, subject, x, kind):
        return WholeCosts(10**6, 1.0, 1.0, None, 0.0)


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Dense is faster above 60 %."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'costs.json'))
    monkeypatch.setattr(model, 'MODEL', Stub(DENSE_ABOVE))
    return model.MODEL


@pytest.fixture
def real(monkeypatch, tmp_path):
    """The model itself, with a clock that stands still but for each look at it."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'costs.json'))
    ticks = iter(range(10**9))
    monkeypatch.setattr(model, 'MODEL', CostModel(Store(tmp_path / 'costs.json'), lambda: next(ticks) * 1e-2))
    return model.MODEL


def build(kind, **config):
    """A network and its configuration."""
    if kind != 'calibrated':
        return network(kind, 2), AMSRConfig(**{'selection': HALF, **config})
    net = network('EDSR', 2)
    calibration = calibrate(net, [image(1, 3, 40, 36).flip(i) ** (i + 1) for i in range(3)], HALF, one_level=False)
    return net, AMSRConfig(**{'calibration': calibration, 'selection': HALF, **config})


def same(found, plain):
    """To rounding, as other engines run it, or torch in channels-last."""
    return torch.allclose(found, plain, rtol=1e-5, atol=1e-5)


def run(net, x, config):
    accelerate_(net, config)
    with torch.no_grad():
        return net(x), float(net.last_keep)


@pytest.mark.parametrize('kind', KINDS)
def test_where_dense_is_faster_all_is_computed(kind, stub):
    net, config = build(kind, selection=dataclasses.replace(HALF, keep=0.75))
    x = image(2, 3, 24, 20)
    with torch.no_grad():
        plain = net(x)
    found, keep = run(net, x, config)
    assert same(found, plain) and keep == 1
    skipped, keep = run(net, x, dataclasses.replace(config, mode='sparse'))
    assert not torch.allclose(skipped, plain, rtol=1e-5, atol=1e-5) and keep == pytest.approx(0.75, abs=0.03)
    assert len(stub.asked) == 1


@pytest.mark.parametrize('kind', KINDS)
def test_the_plain_network_needs_no_mask_of_a_fixed_share(kind, monkeypatch, stub):
    net, config = build(kind, selection=dataclasses.replace(HALF, keep=0.75))
    monkeypatch.setattr(HighFrequencyMask, 'taken', lambda *_: pytest.fail('a mask was made'))
    assert run(net, image(1, 3, 24, 20), config)[1] == 1


@pytest.mark.parametrize('kind', KINDS)
def test_where_skipping_is_faster_it_equals_the_reference(kind, stub):
    net, config = build(kind)
    x = image(2, 3, 24, 20)
    found, keep = run(net, x, config)
    reference, _ = run(net, x, dataclasses.replace(config, mode='dense_masked'))
    torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)
    assert keep == pytest.approx(0.5, abs=0.03) and len(stub.asked) == 1


@pytest.mark.parametrize('kind', ['EDSR', 'SwinIR_light', 'calibrated'])
def test_a_mask_of_2_means_decides_by_the_share_that_it_has(kind, monkeypatch, stub):
    net, config = build(kind, selection=HighFrequencyMask(patch_size=4))
    x = image(1, 3, 24, 20) * 0.01
    x[..., :4, :4] = image(1, 3, 4, 4)  # detail in one corner
    _, keep = run(net, x, config)
    assert 0 < keep < 0.5
    known = decision.keep_of(net, x) if kind == 'SwinIR_light' else keep  # of its windows without shift
    assert abs(known - keep) < 0.1
    monkeypatch.setattr(stub, 'answer', Costs(10**6, 1.0, 0.0, 1.0 / known * 1.01, limited=True))
    assert run(net, x, config)[1] == 1
    monkeypatch.setattr(stub, 'answer', Costs(10**6, 1.0, 0.0, 1.0 / known * 0.99, limited=True))
    assert run(net, x, config)[1] == keep


def test_a_budget_decides_by_the_share_that_it_allows(stub):
    for kind, budget, dense in (('EDSR', 0.75, False), ('EDSR', 0.95, True), ('calibrated', 0.5, False),
                                ('calibrated', 0.95, True)):
        net, config = build(kind, selection=None, budget=budget)
        assert (run(net, image(1, 3, 40, 48), config)[1] == 1) == dense


@pytest.mark.parametrize('kind', ['EDSR', 'calibrated'])
def test_nothing_is_asked_about_an_empty_mask(kind, stub):
    net, config = build(kind, selection=dataclasses.replace(HALF, keep=0.0))
    assert run(net, image(1, 3, 24, 20), config)[1] == 0 and not stub.asked


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('kind', KINDS)
def test_a_full_mask_is_the_plain_network(kind, known, monkeypatch, stub):
    net, config = build(kind, selection=dataclasses.replace(HALF, keep=1.0))
    if not known:
        monkeypatch.setattr(stub, 'answer', None)
    x = image(1, 3, 24, 20)
    with torch.no_grad():
        plain = net(x)
    found, keep = run(net, x, config)
    assert same(found, plain) and keep == 1 and len(stub.asked) == 1


def test_only_inference_in_mode_auto_asks(stub):
    net, config = build('EDSR')
    x = image(1, 3, 16, 16)
    accelerate_(net, config)
    net(x)  # gradients
    with torch.no_grad():
        net.train()(x)
        net.eval()
        with model.undecided():
            net(x)
        net.set_variant('D')
        net(x)
        net.set_variant('M')
        net.to('meta')(x.to('meta'))
    for mode in ('sparse', 'dense_masked'):
        run(network('EDSR', 2), x, dataclasses.replace(config, mode=mode))
    assert not stub.asked


@pytest.mark.parametrize('is_train', [True, False])
def test_a_trainings_validation_does_not_depend_on_time(is_train, monkeypatch, stub):
    net, config = build('EDSR', selection=dataclasses.replace(HALF, keep=0.75))
    keeps = []

    def validate(*_):
        keeps.append(run(net, image(1, 3, 16, 16), config)[1])

    monkeypatch.setattr(validation.BaseModel, 'validation', validate)
    loader = SimpleNamespace(dataset=SimpleNamespace(opt={'name': 'set'}))
    validation.validation(SimpleNamespace(is_train=is_train, opt={}), loader, 0, None)
    assert keeps == [0.75 if is_train else 1.0]


def test_bench_and_calibrate_do_not_depend_on_time(stub):
    assert by_name('EDSR_baseline', 2).build().net.amsr.mode == 'sparse'
    net, x = network('EDSR', 2), image(1, 3, 40, 36)
    calibration = calibrate(net, [x], dataclasses.replace(HALF, keep=0.75), one_level=False)
    assert Meter(net, Trial([x], [x], None, 2)).measure(calibration).keep == pytest.approx(0.75, abs=0.03)
    assert not stub.asked


def test_a_compiled_or_exported_network_skips(stub):
    net, config = build('EDSR', selection=dataclasses.replace(HALF, keep=0.75))
    x = image(1, 3, 16, 16)
    sparse, _ = run(net, x, dataclasses.replace(config, mode='sparse'))
    accelerate_(net, config)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net, backend='eager')(x), sparse, rtol=1e-5, atol=1e-5)
    assert not stub.asked


@pytest.mark.parametrize('kind', KINDS)
def test_measuring_leaves_no_trace(kind, real):
    net, config = build(kind, selection=dataclasses.replace(HALF, keep=0.75))
    x, seen = image(2, 3, 48, 40), []
    accelerate_(net, config)
    keys, random = list(net.state_dict()), torch.get_rng_state()
    for module in net.modules():
        module.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad(), MacCounter() as first:
        expected = net(x)
    calls = len(seen)
    with torch.no_grad(), MacCounter() as again:
        assert torch.equal(net(x), expected)
    assert len(seen) == 2 * calls and first.macs == again.macs  # neither hooks nor counters saw the probes
    assert list(net.state_dict()) == keys and torch.equal(torch.get_rng_state(), random)
    assert net.amsr == config and (real.known or not real.failed)
    assert len(next(iter(real.known.values()))) == 1


@pytest.mark.parametrize('kind', KINDS)
def test_probes_run_the_dense_and_the_sparse_form(kind):
    net, config = build(kind, selection=HighFrequencyMask(patch_size=4, dilation=1))
    x = image(2, 3, 48, 40)
    with torch.no_grad():
        plain = net(x)
        accelerate_(net, config)
        all_of_it = Probes(net, x)(2 * 48 * 40)
        assert all_of_it.area == 2 * 48 * 40 and same(all_of_it.dense(), plain)
        assert all_of_it.sparse(0.25) == pytest.approx(0.25, abs=0.02)
        assert Probes(net, x)(48 * 40 + 1).area == 48 * 40
        assert Probes(net, x)(16 * 16).area == 16 * 16
        assert Probes(net, image(1, 3, 5, 300))(100).area <= 5 * 24


def test_what_changes_the_time_changes_the_subject():
    def subject(kind='EDSR', change=lambda net: net, **config):
        net, given = build(kind, **config)
        accelerate_(net, given)
        return subject_of(change(net), torch.device('cpu')).identity

    base = subject()
    assert base == subject() == subject(selection=dataclasses.replace(HALF, keep=0.25))
    others = [subject('RCAN'), subject('calibrated'), subject(dense_first=1),
              subject(unit='conv'), subject(selection=dataclasses.replace(HALF, patch_size=8)),
              subject(change=lambda net: net.to(memory_format=torch.channels_last))]
    assert len({base, *others}) == 1 + len(others)


def test_a_twin_shares_weights_and_hooks_stay_behind():
    net, config = build('calibrated')
    accelerate_(net, config)
    net.register_forward_hook(lambda *_: pytest.fail('seen'))
    twin = twin_of(net)
    assert all(a is b for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    assert twin.calibrated is net.calibrated and structure_of(twin) == structure_of(net)
    with torch.no_grad():
        twin(image(1, 3, 8, 8))


def test_costs_can_be_measured_before(real):
    net, config = build('EDSR')
    with pytest.raises(UserError, match='EDSR is not accelerated'):
        measure_costs(net, image(1, 3, 16, 16))
    accelerate_(net, config)
    costs = measure_costs(net, image(1, 3, 16, 16))
    assert costs is not None and [costs] == next(iter(real.known.values()))
    with torch.no_grad():
        net(image(1, 3, 16, 16))
    assert [costs] == next(iter(real.known.values()))
    restore_(net)
    assert 'structure' not in vars(net)


def test_a_replica_of_data_parallel_skips(stub):
    net, config = build('EDSR', selection=dataclasses.replace(HALF, keep=0.75))
    accelerate_(net, config)
    net._is_replica = True
    with torch.no_grad():
        net(image(1, 3, 16, 16))
    assert not stub.asked and net.last_keep < 1
    assert decision.costs_of(net, image(1, 3, 16, 16)) is None


def test_the_commands_show_where_the_plain_network_ran(basicsr, stub):  # noqa: F811
    tiny = {'type': 'AMSR', 'backbone': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2},
            'selection': {'keep': 0.75, 'patch_size': 4}}
    for mode, keep in (('auto', 1.0), ('sparse', 0.75)):
        options = options_to_test(network_g={**tiny, 'mode': mode})
        assert basicsr('test', options)[0] == 0
        assert json.loads(Path('results/tiny/metrics.json').read_text())['Three']['keep']['mean'] == keep
        assert basicsr('profile', options, '--no-timing', '--size', '16x24', '--json', 'profile.json')[0] == 0
        report = json.loads(Path('profile.json').read_text())
        assert report['keep'] == keep and (report['macs'] == report['dense']['macs']) == (keep == 1)
