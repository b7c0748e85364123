"""The cost model on invented times: a clock that the forms themselves turn."""
import json
import logging
import os
import threading
import warnings

import pytest
import torch

from basicsr_amsr import allocator
from basicsr_amsr.execution.cost import measure as measuring
from basicsr_amsr.execution.cost.costs import Costs, fit
from basicsr_amsr.execution.cost.measure import FIRST_AREA, MOST_SECONDS, Probe, measure
from basicsr_amsr.execution.cost.model import CostModel, Subject, decides, machine, undecided
from basicsr_amsr.execution.cost.store import VARIABLE, Store, place

CPU = torch.device('cpu')
NET = Subject('net', 'a network')


class Machine:
    """A clock, and two forms that turn it: dense · area, area · (base + slope · keep)."""

    def __init__(self, dense=2e-6, base=0.5e-6, slope=2e-6):
        self.dense, self.base, self.slope = dense, base, slope
        self.now, self.areas, self.ran = 0.0, [], 0

    def clock(self):
        return self.now

    def probe_of(self, area):
        self.areas.append(area)

        def spend(seconds):
            self.now += seconds
            self.ran += 1

        def sparse(keep):
            spend(area * (self.base + self.slope * keep))
            return keep

        return Probe(area, lambda: spend(area * self.dense), sparse)

    def model(self, path):
        return CostModel(Store(path), self.clock)


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'deep' / 'costs.json'


def images(height, width=None, batch=1):
    return torch.zeros(batch, 3, height, width or height)


@pytest.mark.parametrize(('dense', 'base', 'slope', 'edge'), [
    (1.0, 0.2, 1.0, (1.0 - 0.2) / 1.0),
    (1.0, 0.1, 0.9, None),  # equal where all is active: a tie
    (1.0, 2.0, 0.0, -1),
])
def test_dense_is_preferred_above_the_crossover(dense, base, slope, edge):
    costs = Costs(1000, dense, base, slope)
    assert costs.crossover == (None if edge is None else pytest.approx(max(edge, 0)))
    for keep in (0.0, 0.25, 0.5, 0.79, 0.81, 1.0):
        skips = keep < 1 and (keep == 0 or edge is None or keep <= edge)
        assert costs.form(keep) == ('sparse' if skips else 'dense')


@pytest.mark.parametrize(('limited', 'fits', 'does_not'), [
    (False, (500, 1000, 2000), (499, 2001)), (True, (500, 10**12), (499,))])
def test_costs_hold_for_maps_of_about_the_size(limited, fits, does_not):
    costs = Costs(1000, 1.0, 1.0, 1.0, limited)
    assert all(costs.fits(area) for area in fits) and not any(costs.fits(area) for area in does_not)


def test_the_fit_is_a_line():
    costs = fit(100, 2.0, {0.25: 1.0, 0.75: 2.0})
    assert (costs.dense, costs.base, costs.slope) == pytest.approx((0.02, 0.005, 0.02))


@pytest.mark.parametrize('sparse', [{0.3: 2.0, 0.9: 1.0}, {0.0: 1.5}])
def test_a_line_never_falls(sparse):
    costs = fit(100, 1.0, sparse)
    assert costs.slope == 0 and costs.base == pytest.approx(0.015)


def test_one_ratio_gives_a_line_through_the_origin():
    assert fit(10, 1.0, {0.5: 2.0}).sparse(1.0) == pytest.approx(0.4)


@pytest.mark.parametrize('area', [64, FIRST_AREA, 40_000])
def test_what_is_measured_is_what_it_costs(area):
    computer = Machine()
    costs = measure(computer.probe_of, area, CPU, computer.clock)
    assert (costs.dense, costs.base, costs.slope) == pytest.approx((2e-6, 0.5e-6, 2e-6))
    assert costs.area == area and not costs.limited and max(computer.areas) <= area


@pytest.mark.parametrize(('per_pixel', 'area'), [(1e-5, 400_000), (1e-4, 30_000), (1e-3, 10**7)])
def test_a_measurement_takes_no_longer_than_it_may(per_pixel, area):
    computer = Machine(per_pixel, 0, per_pixel)
    costs = measure(computer.probe_of, area, CPU, computer.clock)
    assert costs.area < area and costs.limited
    first = 4 * FIRST_AREA * per_pixel  # the map by whose time the other one is chosen
    assert computer.now <= MOST_SECONDS + first


def test_an_image_that_two_rounds_can_pay_for_is_measured_whole():
    seconds = MOST_SECONDS / 8
    assert seconds > measuring.SECONDS / 2
    computer = Machine(seconds / 50_000, 0, seconds / 50_000)
    costs = measure(computer.probe_of, 50_000, CPU, computer.clock)
    assert costs.area == 50_000 and not costs.limited and computer.now <= MOST_SECONDS + seconds


def test_warm_up_does_not_count():
    computer, slow = Machine(1e-6, 0, 1e-6), []

    def probe_of(area):
        probe = computer.probe_of(area)

        def dense():
            if area not in slow:
                slow.append(area)
                computer.now += 0.3
            probe.dense()

        return Probe(area, dense, probe.sparse)

    assert measure(probe_of, 10_000, CPU, computer.clock).dense == pytest.approx(1e-6)


def test_measured_once_and_kept(file):
    computer = Machine()
    first = computer.model(file)
    costs = first.costs(NET, images(50), computer.probe_of)
    ran = computer.ran
    assert ran and first.costs(NET, images(60), computer.probe_of) is costs
    again = computer.model(file).costs(NET, images(50), computer.probe_of)  # another process
    assert again == costs and computer.ran == ran
    assert 'net, cpu' in file.read_text()


@pytest.mark.parametrize('change', [
    {'subject': Subject('net', 'another network')}, {'x': images(50).double()},
    {'x': images(50).to(memory_format=torch.channels_last)}, {'x': images(50, batch=3)}, {'x': images(33)}],
    ids=['subject', 'dtype', 'layout', 'larger', 'smaller'])
def test_what_matters_is_measured_anew(file, change):
    computer = Machine()
    model = computer.model(file)
    given = {'subject': NET, 'x': images(50)}
    model.costs(**given, probe_of=computer.probe_of)
    ran = computer.ran
    model.costs(**{**given, **change}, probe_of=computer.probe_of)
    assert computer.ran > ran
    model.costs(**given, probe_of=computer.probe_of)
    model.costs(**{**given, **change}, probe_of=computer.probe_of)
    assert len(computer.areas) == 4  # two maps for each measurement


def test_the_machine_is_device_number_formats_threads_and_allocator(monkeypatch):
    x = images(8)
    assert 'float32' in machine(x) and torch.__version__ in machine(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert 'bfloat16 from float32' in machine(x)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 17)
    monkeypatch.setattr(allocator, '_tuned', False)
    assert 'threads 17, allocator stock, torch' in machine(x)
    monkeypatch.setattr(allocator, '_tuned', True)
    assert 'threads 17, allocator tuned, torch' in machine(x)


@pytest.mark.parametrize('content', ['', '{', '[]', '{"format": 4, "costs": []}', '{"format": 4, "costs": {"a": 3}}'])
def test_a_broken_file_is_one_line_and_then_replaced(file, content, caplog):
    file.parent.mkdir()
    file.write_text(content)
    computer = Machine()
    with caplog.at_level(logging.WARNING, 'basicsr'):
        costs = computer.model(file).costs(NET, images(50), computer.probe_of)
    assert len(caplog.records) == 1 and str(file) in caplog.text
    assert computer.model(file).costs(NET, images(50), None) == costs


@pytest.mark.parametrize('damage', [{'dense': 0}, {'dense': 'x'}, {'area': None}, {'slope': -1}, {'limited': 3},
                                    {'more': 1}], ids=str)
def test_damaged_costs_are_measured_again(file, damage, caplog):
    computer = Machine()
    costs = computer.model(file).costs(NET, images(50), computer.probe_of)
    content = json.loads(file.read_text())
    next(iter(content['costs'].values()))['measured'][0].update(damage)
    file.write_text(json.dumps(content))
    assert computer.model(file).costs(NET, images(50), computer.probe_of) == costs
    assert computer.model(file).costs(NET, images(50), None) == costs


def test_a_file_of_another_version_is_measured_again_without_a_word(file, caplog):
    file.parent.mkdir()
    file.write_text('{"format": 0, "costs": 7}')
    computer = Machine()
    assert computer.model(file).costs(NET, images(50), computer.probe_of) and not caplog.records


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, caplog):
    (tmp_path / 'file').write_text('in the way')
    computer = Machine()
    model = computer.model(tmp_path / 'file' / 'costs.json')
    for size in (50, 200):
        assert model.costs(NET, images(size), computer.probe_of)
    assert len(caplog.records) == 1
    ran = computer.ran
    assert model.costs(NET, images(50), computer.probe_of) and computer.ran == ran


def test_two_processes_write(file):
    computer, other = Machine(), Subject('other', 'another network')
    one, two = computer.model(file), computer.model(file)
    assert one.costs(NET, images(50), computer.probe_of)
    assert two.costs(other, images(50), computer.probe_of)
    assert two.costs(NET, images(500), computer.probe_of)
    fresh = computer.model(file)
    for subject, size in ((NET, 50), (other, 50), (NET, 500)):
        assert fresh.costs(subject, images(size), None)
    assert os.listdir(file.parent) == [file.name]  # nothing half-written


def test_threads_measure_once(file):
    computer = Machine()
    model, found = computer.model(file), []
    threads = [threading.Thread(target=lambda: found.append(model.costs(NET, images(50), computer.probe_of)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computer.areas) == 2 and len(set(map(id, found))) == 1


def test_what_cannot_be_measured_is_one_line_and_skips(file, caplog):
    calls = []

    def probe_of(area):
        calls.append(area)
        raise RuntimeError('needs 7 channels\nreally')

    model = CostModel(Store(file))
    assert model.costs(NET, images(50), probe_of) is model.costs(NET, images(500), probe_of) is None
    assert len(calls) == 1 and [record.message.count('\n') for record in caplog.records] == [0]


def test_time_decides_nothing_while_a_graph_is_made(monkeypatch, tmp_path):
    x = images(4)
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'costs.json'))
    assert decides(x)
    assert not decides(x.to('meta'))
    with undecided():
        assert not decides(x)
    assert decides(x)
    seen = []
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    seen.append(decides(x))
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.trace(lambda t: (seen.append(decides(t)), t + 1)[1], x)
    with torch._subclasses.FakeTensorMode() as mode:
        seen.append(decides(mode.from_tensor(x)))
    assert len(seen) >= 3 and not any(seen)
    monkeypatch.setenv(VARIABLE, 'off')
    assert not decides(x)


def test_where_the_file_is(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'own.json'))
    assert place() == tmp_path / 'own.json'
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert place() == tmp_path / 'basicsr_amsr' / 'costs.json'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert place() == tmp_path / '.cache' / 'basicsr_amsr' / 'costs.json'
