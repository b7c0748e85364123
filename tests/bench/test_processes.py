"""A process of its own: what it measures, and that one which fails or hangs takes nobody with it."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from basicsr_amsr.bench import worker
from basicsr_amsr.bench.job import Failed, Job
from basicsr_amsr.bench.processes import launch
from basicsr_amsr.bench.views import View
from tests.bench.tiny import EDSR, image, network

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device('cpu')


def job(tmp_path, **more):
    x = image(24, 32)
    np.save(tmp_path / 'x.npy', x.numpy())
    with torch.no_grad():
        np.save(tmp_path / 'y.npy', View('dense').of(network(EDSR).build().net)(x).numpy())
    return Job(**{'network': network(EDSR), 'view': View('dense'), 'backend': 'torch', 'device': CPU,
                  'dtype': torch.float32, 'threads': 1, 'images': (str(tmp_path / 'x.npy'),) * 2,
                  'pictures': (str(tmp_path / 'y.npy'),) * 2, 'expected': str(tmp_path / 'y.npy'), 'seconds': 0.05,
                  'caches': str(tmp_path / 'caches'), **more})


def test_a_process_of_its_own_measures_and_compares(tmp_path):
    found = launch(job(tmp_path), 60)
    assert len(found.milliseconds) == 2 and all(len(passes) >= 2 for passes in found.milliseconds)
    assert max(found.milliseconds[0]) / 1e3 < found.first_picture < 20  # it is loaded first
    assert found.psnr > 120 and found.difference < 1e-5 and found.versions == {'torch': torch.__version__}
    assert found.faults is None or found.faults < 1e4


def crash(job, answer, log):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(job, answer, log):
    os.setsid()
    time.sleep(600)


def leave(job, answer, log):
    with open(log, 'w') as file:
        file.write('terminate called\nno room left\n')
    os._exit(3)


@pytest.mark.skipif(os.name != 'posix', reason='signals')
@pytest.mark.parametrize('action, timeout, why', [
    (crash, 60, 'its process ended by signal SIGSEGV'),
    (leave, 60, 'its process ended with code 3: no room left'),
    (hang, 2, 'it was ended after 2 s'),
])
def test_what_goes_wrong_is_one_line(tmp_path, monkeypatch, action, timeout, why):
    monkeypatch.setattr(worker, 'main', action)
    begun = time.monotonic()
    with pytest.raises(Failed) as caught:
        launch(job(tmp_path), timeout)
    assert str(caught.value) == why and time.monotonic() - begun < 50


def test_an_error_is_one_line(tmp_path):
    with pytest.raises(Failed, match=r'^FileNotFoundError: .*absent\.npy'):
        launch(job(tmp_path, images=(str(tmp_path / 'absent.npy'),)), 60)


def in_new_process(code, *words):
    """The words that code prints. What a process that has idled held, the system may have paged out."""
    run = subprocess.run([sys.executable, '-c', code, *words], capture_output=True, text=True, check=True,
                         cwd=REPOSITORY)
    return run.stdout.split()


MEASURED = """
import mmap
import torch
from basicsr_amsr.bench import worker
cpu = torch.device('cpu')
memory = worker.PeakMemory(cpu)
with mmap.mmap(-1, 40 << 20) as block:
    block[::4096] = b'1' * (len(block) // 4096)
print(memory.above_start(), worker.PeakMemory(cpu).above_start())
"""


def test_memory_is_above_what_was_there():
    if worker.PeakMemory(CPU).above_start() is None:
        pytest.skip('this system tells no memory')
    held, after = map(int, in_new_process(MEASURED))
    assert 39 << 20 < held < 60 << 20 and after < 30 << 20


FAULTS = """
import mmap, pathlib, sys
from basicsr_amsr.bench import worker
from tests.bench.test_processes import job

def allocate(_):
    with mmap.mmap(-1, 8 << 20) as block:
        block[::4096] = b'1' * (len(block) // 4096)

found, faults = worker.passes_of(allocate, [0], job(pathlib.Path(sys.argv[1]), least=3, seconds=0.0))
print(len(found[0]), faults)
"""


def test_page_faults_are_those_of_the_passes(tmp_path):
    if worker.minor_faults() is None:
        pytest.skip('this system tells no page faults')
    passes, faults = map(float, in_new_process(FAULTS, str(tmp_path)))
    pages = (8 << 20) // 4096
    assert passes == 3 and 0.9 * pages < faults < 1.5 * pages


def test_seconds_bound_the_passes_and_short_ones_are_repeated(tmp_path):
    calls = []
    found, _ = worker.passes_of(lambda x: calls.append(x), [0, 1, 2], job(tmp_path, seconds=0.2))
    assert len(found) == 3 and len(set(map(len, found))) == 1 and len(calls) > 3 * len(found[0])
    found, _ = worker.passes_of(lambda x: time.sleep(0.02), [0, 1], job(tmp_path, seconds=0.2))
    assert 2 <= len(found[0]) <= 5 and all(value > 19 for value in found[0])


def test_pictures_are_compared(tmp_path):
    a, b = np.zeros((1, 3, 4, 4), np.float32), np.full((1, 3, 4, 4), 0.1, np.float32)
    np.save(tmp_path / 'b.npy', b)
    file = str(tmp_path / 'b.npy')
    assert worker.mean_psnr([a, a], [file, file]) == pytest.approx(20) and worker.mean_psnr([b], [file]) == float('inf')
    assert worker.mean_psnr([a[:, :, 1:]], [file]) == worker.difference(a, file) * -float('inf')
    assert worker.difference(a, file) == pytest.approx(1) and worker.difference(b, file) == 0
    assert worker.difference(a[:, :, 1:], file) == float('inf')
