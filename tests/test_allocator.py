"""The tuned allocator: a warm pass meets no page faults, results stay, forked processes go back, memory is returned."""
import os
import platform
import subprocess
import sys

import pytest
import torch

from basicsr_amsr import allocator
from basicsr_amsr.errors import UserError

glibc = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc can be tuned')

PASSES = '''
import os, resource, sys, threading
import torch
from basicsr_amsr import allocator
torch.manual_seed(0)
torch.set_num_threads(1)
if 'tune' in sys.argv:
    assert allocator.tune() and allocator.tune() and allocator.state().startswith('tuned')
net = torch.nn.Sequential(*(torch.nn.Conv2d(16 if i else 3, 16, 3, padding=1) for i in range(4)))
image = torch.rand(1, 3, 512, 512)  # feature maps of 16 MiB, 4096 pages each


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident():
    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()


@torch.inference_mode()
def passes():
    counts = []
    for _ in range(8):  # in the third one the heap may grow once more
        before = faults()
        total = net(image).double().sum().item()
        counts.append(faults() - before)
    print(sorted(counts[3:])[2], total)  # the median: the system may take pages back meanwhile


if 'thread' in sys.argv:
    thread = threading.Thread(target=passes)
    thread.start()
    thread.join()
elif 'fork' in sys.argv:
    passes()
    sys.stdout.flush()
    held = resident()
    if os.fork():
        os.wait()
    else:
        print(held - resident() > 16 << 20, allocator.state())
        passes()
        sys.stdout.flush()
        os._exit(0)
elif 'release' in sys.argv:
    passes()
    held = resident()
    allocator.release()
    print(held - resident() > 16 << 20)
else:
    passes()
'''


def run(*words, **environment):
    """The printed lines of the passes in a process of its own."""
    ended = subprocess.run([sys.executable, '-c', PASSES, *words], capture_output=True, text=True, timeout=120,
                           env={**os.environ, allocator.VARIABLE: '', **environment}, check=True)
    return ended.stdout.splitlines()


@glibc
@pytest.mark.parametrize('where', ['main', 'thread'])
def test_a_warm_pass_meets_no_page_faults_and_computes_the_same(where):
    stock, tuned = (run(where, *more)[0].split() for more in ([], ['tune']))
    assert int(stock[0]) > 4096 and int(tuned[0]) < 400
    assert stock[1] == tuned[1]


@glibc
def test_forked_processes_return_what_they_inherited_and_keep_nothing():
    first, returned, again = run('fork', 'tune')
    assert returned.startswith('True stock')
    assert int(first.split()[0]) < 400 and first.split()[1] == again.split()[1]


@glibc
def test_release_returns_what_is_free():
    assert run('release', 'tune')[1] == 'True'


def test_import_leaves_the_process_alone_and_the_command_tunes_it():
    code = ('import sys, basicsr_amsr; from basicsr_amsr import allocator, cli; print(allocator.state()); '
            'cli.main(["list", "backbone"]); print(allocator.state())')
    for value, expected in ('', 'tuned' if platform.libc_ver()[0] == 'glibc' else 'stock'), ('stock', 'stock'):
        ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=True,
                               env={**os.environ, allocator.VARIABLE: value})
        lines = ended.stdout.splitlines()
        assert lines[0].startswith('stock') and lines[-1].startswith(expected)


def test_another_value_of_the_variable_is_a_mistake(monkeypatch):
    monkeypatch.setenv(allocator.VARIABLE, 'jemalloc')
    with pytest.raises(UserError, match='jemalloc'):
        allocator.tune()


def test_other_systems_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(allocator, '_has_mallopt', lambda: False)
    monkeypatch.setenv(allocator.VARIABLE, '')
    assert not allocator.tune() and 'glibc' in allocator.state()
    allocator.release()
    assert torch.ones(2).sum() == 2
