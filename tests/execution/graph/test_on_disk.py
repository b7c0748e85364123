"""Graphs that are kept on disk for the next program."""
from __future__ import annotations

import dataclasses
import importlib
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.graph import from_export, on_disk
from basicsr_amsr.execution.graph.on_disk import read_or_keep
from basicsr_amsr.execution.graph.run_by_torch import run
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.torch_sparse.read_network import plain_forward
from tests.execution.graph.networks import build, channels

KEPT = {'SRVGGNetCompact': True, 'RRDBNet x2': True, 'RCAN of BasicSR': True, 'RFDN': True, 'PAN': True,
        'Winding': True, 'PLKSR': False}

CODE = '''
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x) * 2.0
'''
TRACED: list[str] = []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for graphs; networks that are traced are noted."""
    monkeypatch.setenv(on_disk.VARIABLE, str(tmp_path / 'graphs'))
    read = from_export.read

    def noted(net: nn.Module, *args, **kwargs):
        TRACED.append(type(net).__name__)
        return read(net, *args, **kwargs)

    TRACED.clear()
    monkeypatch.setattr(from_export, 'read', noted)
    return tmp_path / 'graphs'


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module of a user's, and its network, as the file has it now."""
    file = tmp_path / 'of_a_user.py'
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)

    def network(code: str) -> nn.Module:
        file.write_text(code)
        sys.modules.pop('of_a_user', None)
        importlib.invalidate_caches()
        torch.manual_seed(0)
        return importlib.import_module('of_a_user').Net().eval()

    yield network
    sys.modules.pop('of_a_user', None)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said to the user."""
    return [record.getMessage() for record in caplog.records if record.name == 'basicsr']


def files(folder: Path) -> list[Path]:
    """The graphs that are kept."""
    return sorted(folder.glob('*')) if folder.is_dir() else []


@pytest.mark.parametrize(('name', 'is_kept'), KEPT.items())
def test_a_kept_graph_is_the_one_that_was_traced(name, is_kept, folder):
    """Field by field; networks that hold what cannot be compared are traced each time."""
    x = torch.rand(1, channels(name), 24, 28)
    net, same = build(name), build(name)
    first = read_or_keep(net, x)
    draws = torch.get_rng_state()
    second = read_or_keep(same, x)
    assert torch.equal(torch.get_rng_state(), draws)
    assert len(TRACED) == (1 if is_kept else 2)
    assert len(files(folder)) == is_kept
    assert {key: (each.shape, each.dtype) for key, each in first.weights.items()} == {
        key: (each.shape, each.dtype) for key, each in second.weights.items()}
    if is_kept:
        without = [dataclasses.replace(graph, weights={}, constants={}) for graph in (first, second)]
        assert without[0] == without[1]
        torch.testing.assert_close(first.constants, second.constants, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(run(second, net, x), net(x))


@pytest.mark.parametrize('name', ['SRVGGNetCompact', 'SPAN'])
def test_forms_run_by_a_kept_graph(name):
    """SPAN sets weights in its forward, which a fresh network has not run yet."""
    x = torch.rand(1, 3, 20, 24)
    for _ in range(2):
        net = build(name)
        with torch.no_grad():
            expected = build(name)(x)
            given = DenseForm(Traces(plain_forward)).image(net, x)
        assert given is None or torch.allclose(given, expected, atol=1e-4)
    assert len(TRACED) == 1


def test_half_networks_have_graphs_of_their_own(folder):
    """The type is part of the key."""
    for dtype in (torch.float32, torch.bfloat16, torch.bfloat16):
        net = build('SRVGGNetCompact').to(dtype)
        assert read_or_keep(net, torch.rand(1, 3, 24, 24).to(dtype)).dtype(1) == dtype
    assert len(TRACED) == 2


@pytest.mark.parametrize('value', [3e38, float('nan')])
def test_a_network_whose_numbers_overflow_is_traced_again_without_a_word(value, folder, caplog):
    net, x = build('RFDN'), torch.rand(1, 3, 20, 20)
    read_or_keep(net, x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    TRACED.clear()
    read_or_keep(net, x)
    assert TRACED == ['RFDN'] and 'Kept graph' not in caplog.text


def test_changed_code_is_traced_again(written, folder):
    """Even where only a factor in the forward differs, of which no weight tells."""
    x = torch.rand(1, 3, 20, 20)
    read_or_keep(written(CODE), x)
    read_or_keep(written(CODE), x)  # written again: its time may have changed
    net = written(CODE.replace('2.0', '3.0 '))
    graph = read_or_keep(net, x)
    assert TRACED.count('Net') >= 2
    with torch.no_grad():
        torch.testing.assert_close(run(graph, net, x), net(x))


def test_code_beside_it_counts(written, folder, tmp_path):
    """What a user's module imports from another file of the user's."""
    (tmp_path / 'beside_it.py').write_text('FACTOR = 2.0\n')
    code = 'from beside_it import FACTOR\n' + CODE.replace('2.0', 'FACTOR')
    try:
        net, x = written(code), torch.rand(1, 3, 20, 20)
        before = on_disk.file_of(net, x, None)
        os.utime(tmp_path / 'beside_it.py', ns=(1, 1))
        assert before is not None
        assert on_disk.file_of(net, x, None) not in (None, before)
    finally:
        sys.modules.pop('beside_it', None)


def test_a_graph_that_is_not_the_networks_is_not_taken(written, folder, caplog):
    """What no file tells is seen on the small image."""
    net, x = written(CODE.replace('2.0', 'FACTOR') + '\nFACTOR = 2.0\n'), torch.rand(1, 3, 20, 20)
    read_or_keep(net, x)
    sys.modules['of_a_user'].FACTOR = 3.0
    graph = read_or_keep(net, x)
    assert TRACED == ['Net', 'Net']
    line, = lines(caplog)
    assert line.endswith('does not give what Net gives: the network is traced again.')
    with torch.no_grad():
        torch.testing.assert_close(run(graph, net, x), net(x))


@pytest.mark.parametrize('content', [b'', b'no graph', pickle.dumps({'format': 0})])
def test_damaged_files_are_replaced(content, folder, caplog):
    """With one line."""
    net, x = build('SRVGGNetCompact'), torch.rand(1, 3, 24, 24)
    read_or_keep(net, x)
    file, = files(folder)
    file.write_bytes(content)
    read_or_keep(net, x)
    assert len(TRACED) == 2
    assert len(lines(caplog)) == 1
    read_or_keep(net, x)
    assert len(TRACED) == 2


def test_a_folder_that_cannot_be_written_costs_a_line(tmp_path, monkeypatch, caplog):
    """A file stands where the folder would be."""
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv(on_disk.VARIABLE, str(tmp_path / 'file'))
    read_or_keep(build('SRVGGNetCompact'), torch.rand(1, 3, 24, 24))
    line, = lines(caplog)
    assert 'cannot be written' in line


def test_off(monkeypatch, tmp_path):
    """Nothing is written or read."""
    monkeypatch.setenv(on_disk.VARIABLE, 'off')
    monkeypatch.setattr(on_disk, 'cache_folder', lambda: tmp_path)
    for _ in range(2):
        read_or_keep(build('SRVGGNetCompact'), torch.rand(1, 3, 24, 24))
    assert len(TRACED) == 2
    assert not list(tmp_path.iterdir())


def test_what_another_program_would_not_find_is_not_kept(folder):
    """A class that is made in a function, or a forward that is."""
    class Local(nn.Conv2d):
        pass

    x = torch.rand(1, 3, 20, 20)
    read_or_keep(Local(3, 3, 3, padding=1), x)
    read_or_keep(nn.Conv2d(3, 3, 3, padding=1), x, lambda net, x: net(x))
    assert not files(folder)


def test_the_newest_stay(folder, monkeypatch):
    """So that the folder does not grow for ever."""
    monkeypatch.setattr(on_disk, 'MOST', 2)
    for channels_ in (4, 5, 6):
        net = nn.Sequential(nn.Conv2d(3, channels_, 3, padding=1), nn.Conv2d(channels_, 3, 3, padding=1))
        read_or_keep(net, torch.rand(1, 3, 20, 20))
        os.utime(max(files(folder), key=lambda file: file.stat().st_mtime_ns))
    assert len(files(folder)) == 2
