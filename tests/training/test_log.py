"""The line of the log against figures worked out by hand, and timers against a clock of our own."""
import logging
import re
import types
from pathlib import Path

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.utils import get_root_logger

from basicsr_amsr.training import interval_timer, log
from basicsr_amsr.training.interval_timer import IntervalTimer
from basicsr_amsr.training.log import TrainingLog
from tests.cli.conftest import options_to_train


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(interval_timer, 'time', types.SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(log, 'time', types.SimpleNamespace(perf_counter=lambda: self.now))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Writer(dict):
    def add_scalar(self, name, value, iteration):
        self[name, iteration] = value


def options(**more):
    return {'name': 'tiny_run', 'rank': 0, 'world_size': 1, 'dist': False, 'num_gpu': 0,
            'train': {'total_iter': 1000}, 'logger': {'print_freq': 100, 'use_tb_logger': True},
            'datasets': {'train': {'batch_size_per_gpu': 16}}, **more}


@pytest.fixture
def line(caplog, monkeypatch):
    """Prints a line and returns it."""
    get_root_logger()
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)

    def write(logger, iteration, time=0.5, data_time=0.05, **losses):
        caplog.clear()
        with caplog.at_level(logging.INFO, 'basicsr'):
            logger({'epoch': 3, 'iter': iteration, 'lrs': [2e-4], 'time': time, 'data_time': data_time, **losses})
        return caplog.messages[-1]

    return write


def test_a_run_logs_each_interval_by_itself(basicsr, clock, monkeypatch):
    iterations = iter((4.0, 2.0, 1.0, 1.0))
    forward = MSRResNet.forward

    def taking_time(self, x):
        clock.now += next(iterations)
        return forward(self, x)

    monkeypatch.setattr(MSRResNet, 'forward', taking_time)
    options = options_to_train()
    options['train']['total_iter'], options['logger']['print_freq'] = 4, 2
    assert basicsr('train', options)[0] == 0
    (log,) = Path('experiments/tiny').glob('train_*.log')
    assert re.findall(r'eta: .*data wait: [0-9.]+%', log.read_text()) == [
        'eta: 0:00:06, time (data): 3.000 (0.000)] [0.3 images/s, data wait: 0.0%',
        'eta: 0:00:00, time (data): 1.000 (0.000)] [1.0 images/s, data wait: 0.0%']


def test_the_line_is_basicsrs_with_one_more_bracket(clock, line):
    writer = Writer()
    text = line(TrainingLog(options(), 0, writer), 100, l_pix=0.0123, other=2)
    assert text == ('[tiny_..][epoch:  3, iter:     100, lr:(2.000e-04,)] [eta: 0:07:30, time (data): 0.500 (0.050)] '
                    '[32.0 images/s, data wait: 10.0%] l_pix: 1.2300e-02 other: 2.0000e+00 ')
    assert re.search(r'\[epoch:\s*(\d+), iter:\s*([\d,]+), lr:\((.*),\)\] \[eta: (.*), time \(data\): ([\d.]+) '
                     r'\(([\d.]+)\)\]', text)
    assert writer == {('speed/images_per_second', 100): 32.0, ('speed/data_wait_percent', 100): pytest.approx(10.0),
                      ('losses/l_pix', 100): 0.0123, ('other', 100): 2}


def test_the_eta_counts_validation_and_what_this_run_did(clock, line):
    resumed = TrainingLog(options(), 600, Writer())
    clock.now += 50  # workers start
    assert 'eta: 0:02:30' in line(resumed, 700, time=0.5)  # 300 · 0.5 s
    clock.now += 100  # 100 iterations at 0.5 s, and a validation of 50 s
    assert 'eta: 0:03:20' in line(resumed, 800, time=0.5)  # 200 · 1 s
    clock.now += 200
    assert 'eta: 0:00:00' in line(resumed, 1000, time=0.5)


@pytest.mark.parametrize('more, images', [({'dist': True, 'world_size': 4, 'num_gpu': 1}, 128), ({'num_gpu': 2}, 64)])
def test_images_are_those_of_all_devices(clock, line, more, images):
    assert f'[{images:.1f} images/s' in line(TrainingLog(options(**more)), 100)


def test_a_debug_run_writes_no_tensorboard_and_a_line_may_lack_times(clock, line, caplog):
    writer = Writer()
    logger = TrainingLog(options(name='debug_x'), 0, writer)
    line(logger, 1, l_pix=1.0)
    assert writer == {}
    with caplog.at_level(logging.INFO, 'basicsr'):
        logger({'epoch': 0, 'iter': 2, 'lrs': [1.0, 0.5], 'l_pix': 1.0})
    assert caplog.messages[-1] == '[debug..][epoch:  0, iter:       2, lr:(1.000e+00,5.000e-01,)] l_pix: 1.0000e+00 '


def test_timers_average_over_the_interval(clock):
    data, whole = IntervalTimer(), IntervalTimer()
    for wait, work in ((1.0, 2.0), (0.5, 1.5)):
        clock.now += wait
        data.record()
        clock.now += work
        whole.record()
        clock.now += 10  # logging, validation
        data.start()
        whole.start()
    assert data.get_current_time() == 0.5 and whole.get_current_time() == 2.0
    assert data.get_avg_time() == 0.75 and whole.get_avg_time() == 2.5
    clock.now += 4
    data.record()
    assert data.get_avg_time() == 4.0
    assert data.get_avg_time() == 0.0


class GPU:
    """A GPU that works through what it is given, in the order it is given; times in seconds."""

    def __init__(self, clock):
        self.clock, self.free = clock, 0.0

    def work(self, seconds):
        self.free = max(self.free, self.clock.now) + seconds

    def event(self, enable_timing=False):
        gpu = self

        class Event:
            def record(self):
                gpu.work(0)
                self.at = gpu.free

            def query(self):
                return gpu.clock.now >= self.at

            def synchronize(self):
                gpu.clock.now = max(gpu.clock.now, self.at)

            def elapsed_time(self, end):
                assert gpu.clock.now >= end.at
                return 1000 * (end.at - self.at)

        return Event()


@pytest.mark.parametrize('fetch, waits, iterations', [
    (0.5, [0.5] + 11 * [0.0], [1.75] + 11 * [1.0]),  # the program gets ahead: only the first batch is waited for
    (3.0, [3.0] + 11 * [2.0], [4.25] + 11 * [3.25])])  # the GPU idles 2 s for each batch, though the program waits 3 s
def test_on_a_gpu_only_its_own_idling_counts(clock, monkeypatch, fetch, waits, iterations):
    """Fetching a batch takes the program `fetch`, launching 0.25 s; computing takes the GPU 1 s."""
    gpu = GPU(clock)
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'Event', gpu.event)
    data, whole = IntervalTimer(), IntervalTimer()
    for _ in range(12):
        clock.now += fetch
        data.record()
        clock.now += 0.25
        gpu.work(1.0)
        whole.record()
        data.start()
        whole.start()
    assert data.get_avg_time() == pytest.approx(sum(waits) / 12)
    assert whole.get_avg_time() == pytest.approx(sum(iterations) / 12)


@pytest.mark.cuda
def test_on_cuda_a_slow_loader_is_seen_and_a_fast_one_is_not():
    import time
    weight = torch.rand(4096, 4096, device='cuda')
    for sleep in (0.05, 0.0):
        torch.cuda.synchronize()
        data, whole = IntervalTimer(), IntervalTimer()
        for _ in range(10):
            time.sleep(sleep)
            data.record()
            for _ in range(20):
                weight @ weight
            whole.record()
            data.start()
            whole.start()
        share = data.get_avg_time() / whole.get_avg_time()
        assert share > 0.2 if sleep else share < 0.05
