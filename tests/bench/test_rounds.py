"""One comparison: who is let in, in which order they run, and what failures and an interruption leave."""
import math

import pytest
import torch
from torch import nn

from basicsr_amsr.bench import processes, rivals
from basicsr_amsr.bench.contenders import Contender, Equality
from basicsr_amsr.bench.folder import Folder
from basicsr_amsr.bench.job import Failed, Result
from basicsr_amsr.bench.rounds import Measured, Settings, admit, admit_rival, time_rounds
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError
from tests.bench.tiny import EDSR, network

IMAGES = [torch.full((1, 3, 6, 8), float(value)) for value in range(3)]


class Counted(nn.Module):
    """Counts its calls."""

    def __init__(self):
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 3, 1), 0

    def forward(self, x):
        self.calls += 1
        return self.conv(x)


def contender(number, kind='dense', **more):
    return Contender(f'{kind}{number}', 'torch', kind, View('dense'), **{'net': Counted(), **more})


def result(milliseconds=1.0, difference=0.0):
    return Result([[milliseconds, milliseconds]], 0.5, 1 << 20, 3.0, 60.0, difference, {'torch': '2'})


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path, network(EDSR), torch.device('cpu'), torch.float32, 1, IMAGES[:1], IMAGES[:1])


def admitted(*contenders):
    found = Measured()
    for one in contenders:
        admit(found, one, IMAGES)
    return found


def test_each_round_starts_every_contender_once_in_a_changing_order(folder, monkeypatch):
    started, after = [], []
    every = [contender(number, stock=number == 1) for number in range(5)]
    found = admitted(*every)
    for one in every:
        folder.expect(one, IMAGES[0])

    def launch(job, timeout):
        started.append((job.expected, job.stock))
        assert timeout == 7 and job.seconds == 0.25 and job.images == folder.images
        return result()

    monkeypatch.setattr(processes, 'launch', launch)
    settings = Settings(rounds=6, seconds=0.25, timeout=7)
    time_rounds(found, folder, settings, after_round=lambda: after.append(found.rounds))
    rounds = [started[start:start + 5] for start in range(0, len(started), 5)]
    assert len(rounds) == 6 and after == [1, 2, 3, 4, 5, 6]
    assert all({expected for expected, _ in one} == set(folder.expected.values()) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 4 and sum(stock for _, stock in started) == 6


def test_sparse_forms_are_counted_on_every_image_and_dense_ones_on_one():
    every = [contender(0), contender(1, 'reference'), contender(2, 'sparse')]
    found = admitted(*every)
    assert [one.net.calls for one in every] == [1, 1, 3]
    assert set(found.macs.values()) == {9 * 48.0} and set(found.keeps.values()) == {1.0}


def test_what_computes_the_wrong_thing_is_not_timed():
    wrong = (Equality('the truth', lambda x: x, lambda x: x + 1),)
    found = admitted(contender(0), contender(1, 'sparse', equalities=wrong))
    assert list(found.refused) == ['sparse1 (torch)']
    assert 'differs from that of the truth' in found.refused['sparse1 (torch)']
    assert [one.name for one in found.contenders] == list(found.macs) == ['dense0 (torch)']


def test_another_share_than_the_one_asked_for_is_not_timed():
    found = admitted(contender(4, 'sparse', keep=0.5, slack=0.01))
    assert found.refused == {'sparse4 (torch)': 'it computed 1.0000 of the image instead of 0.5000'}


@pytest.mark.parametrize('outcome, why', [
    (Failed('its process ended by signal SIGSEGV'), 'its process ended by signal SIGSEGV'),
    (Failed('it was ended after 900 s'), 'it was ended after 900 s'),
    (result(difference=0.5), 'its picture differs from the one expected by 0.5 of the largest value'),
    (result(difference=math.nan), 'its picture differs from the one expected by nan of the largest value'),
    (None, 'its process told nothing'),
])
def test_who_fails_in_a_round_is_a_line_and_the_others_go_on(folder, monkeypatch, outcome, why):
    calls = []
    found = admitted(contender(0), contender(1, stock=True), contender(2))

    def launch(job, timeout):
        calls.append(job.stock)
        if job.stock and calls.count(True) == 2:
            if isinstance(outcome, Failed):
                raise outcome
            return outcome
        return result()

    monkeypatch.setattr(processes, 'launch', launch)
    time_rounds(found, folder, Settings(rounds=3))
    assert found.refused == {'dense1 (torch)': why} and found.rounds == 3
    assert len(calls) == 3 + 3 + 2 and set(found.results) == {'dense0 (torch)', 'dense2 (torch)'}


def test_an_interruption_leaves_the_complete_rounds(folder, monkeypatch):
    calls = []

    def launch(job, timeout):
        calls.append(job)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return result()

    monkeypatch.setattr(processes, 'launch', launch)
    found = admitted(contender(0), contender(1))
    time_rounds(found, folder, Settings(rounds=9))
    assert found.interrupted and found.rounds == 2
    calls[:] = [None] * 4
    found = admitted(contender(0), contender(1))
    with pytest.raises(KeyboardInterrupt):
        time_rounds(found, folder, Settings(rounds=9))


def test_a_network_that_does_not_take_the_images_is_named():
    class Wrong(nn.Module):
        def forward(self, x):
            raise RuntimeError('mat1 and mat2 do not match')

    with pytest.raises(UserError, match=r'dense0 \(torch\) does not take an input of 6x8'):
        admit(Measured(), contender(0, net=Wrong()), IMAGES)


def test_a_rival_is_counted_as_the_form_that_it_runs_and_needs_it_admitted(folder):
    own = contender(0)
    found = admitted(own)
    admit_rival(found, rivals.alike(own, backend='torch.compile'), folder, Settings())
    admit_rival(found, rivals.alike(contender(9), backend='torch.compile'), folder, Settings())
    assert list(found.macs) == ['dense0 (torch)', 'dense0 (torch.compile)'] and len(set(found.macs.values())) == 1


def test_an_absent_package_is_told_with_how_to_get_it(folder, monkeypatch):
    monkeypatch.setattr(rivals.importlib.util, 'find_spec', lambda name: None if name == 'openvino' else name)
    own = contender(0)
    found = admitted(own)
    admit_rival(found, rivals.alike(own, backend='openvino'), folder, Settings())
    assert found.absent == {'dense0 (openvino)': 'not installed: pip install openvino'} and not found.refused


def test_a_graph_that_cannot_be_exported_is_a_line_and_is_tried_once_a_backend(folder, monkeypatch):
    monkeypatch.setattr(rivals.importlib.util, 'find_spec', lambda name: name)

    def launch(job, timeout):
        assert job.export
        raise Failed('Unsupported: an operator')

    monkeypatch.setattr(processes, 'launch', launch)
    own = contender(0)
    found = admitted(own)
    admit_rival(found, rivals.alike(own, backend='openvino'), folder, Settings())
    assert found.refused == {'dense0 (openvino)': 'its graph cannot be exported: Unsupported: an operator'}
    assert [one.name for one in found.contenders] == [own.name]
