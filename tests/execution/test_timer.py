"""The paired timer, with a clock that the test drives."""
import gc
import time

import numpy as np
import pytest
import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.timer import PairedTimes, Quartiles, time_paired


class Clock:
    """Time that passes only where a call says so, in seconds."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def call(self, name, seconds):
        def run():
            self.log.append(name)
            self.now += seconds() if callable(seconds) else seconds

        return run


def test_rounds_are_interleaved_after_the_warm_up():
    clock = Clock()
    times = time_paired({'a': clock.call('a', 0.25), 'b': clock.call('b', 0.5)}, budget=0, warmup=2, min_rounds=3,
                        clock=clock)
    assert clock.log == ['a', 'b'] * 5
    assert times.milliseconds == {'a': [250.0] * 3, 'b': [500.0] * 3}
    assert times.rounds == 3


def test_each_round_has_an_order_of_its_own_where_a_seed_is_given():
    clock, names = Clock(), ['a', 'b', 'c', 'd']
    calls = {name: clock.call(name, 0.25 * (number + 1)) for number, name in enumerate(names)}
    times = time_paired(calls, budget=0, warmup=1, min_rounds=12, clock=clock, seed=0)
    assert clock.log[:4] == names
    rounds = [tuple(clock.log[start:start + 4]) for start in range(4, len(clock.log), 4)]
    assert all(sorted(order) == names for order in rounds)
    assert len(rounds) == 12 and len(set(rounds)) > 6
    assert len({order[0] for order in rounds}) == 4
    assert times.milliseconds == {name: [250.0 * (number + 1)] * 12 for number, name in enumerate(names)}


def test_an_interrupted_round_leaves_the_complete_ones():
    clock, kept, seen = Clock(), [], []
    seconds = iter([0.25] * 5)

    def stop():
        for value in seconds:
            return value
        raise KeyboardInterrupt

    def before(times):
        kept[:] = [times]
        seen.append(times.rounds)

    with pytest.raises(KeyboardInterrupt):
        time_paired({'a': clock.call('a', 0.5), 'b': clock.call('b', stop)}, budget=0, warmup=1, min_rounds=9,
                    clock=clock, before_round=before)
    assert seen == [0, 1, 2, 3, 4]
    assert kept[0].milliseconds == {'a': [500.0] * 4, 'b': [250.0] * 4}


@pytest.mark.parametrize('budget, rounds', [(0.0, 5), (8.0, 6), (8.9, 6), (9.0, 7), (100.0, 20)])
def test_rounds_fill_the_budget(budget, rounds):
    clock = Clock()
    times = time_paired({'a': clock.call('a', 1.0)}, budget=budget, warmup=2, max_rounds=20, clock=clock)
    assert times.rounds == rounds


def test_short_calls_are_repeated_and_averaged():
    clock = Clock()
    times = time_paired({'short': clock.call('short', 0.0005), 'long': clock.call('long', 0.5)}, budget=0, warmup=1,
                        min_rounds=2, clock=clock)
    assert clock.log == ['short', 'long', *(['short'] * 4 + ['long']) * 2]
    assert times.milliseconds['short'] == pytest.approx([0.5, 0.5])


def test_ratio_pairs_the_rounds_and_so_survives_drift():
    clock = Clock()
    drift = iter([1.0, 1.0, *(x for factor in (1, 3, 9, 27, 2) for x in (factor, factor))])
    half = clock.call('half', lambda: next(drift))
    whole = clock.call('whole', lambda: 2 * next(drift))
    times = time_paired({'half': half, 'whole': whole}, budget=0, warmup=1, clock=clock)
    ratio = times.ratio('half', 'whole')
    assert (ratio.q1, ratio.median, ratio.q3, ratio.samples) == (0.5, 0.5, 0.5, 5)
    assert times.latency('half').median == 3000.0


@pytest.mark.parametrize('values', [[3.0], [1.0, 2.0], [5.0, 1.0, 4.0, 2.0, 9.0, 7.5]])
def test_quartiles_are_numpys(values):
    quartiles = Quartiles.of(values)
    expected = np.quantile(values, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([quartiles.q1, quartiles.median, quartiles.q3], expected)
    assert quartiles.samples == len(values)


def test_wall_clock_sees_what_a_call_takes():
    times = time_paired({'short': lambda: time.sleep(0.01), 'long': lambda: time.sleep(0.03)}, budget=0.3)
    # Sleeping takes at least so long; how much longer depends on who else is at work.
    assert times.latency('short').median >= 10 and times.latency('long').median >= 30
    assert times.ratio('long', 'short').median > 1


def test_threads_and_garbage_collector_are_given_back():
    before = torch.get_num_threads()
    seen = []
    time_paired({'a': lambda: seen.append((torch.get_num_threads(), gc.isenabled()))}, budget=0, num_threads=before + 1)
    assert set(seen) == {(before + 1, False)}
    assert torch.get_num_threads() == before and gc.isenabled()

    def fail():
        raise ValueError('broken')

    with pytest.raises(ValueError, match='broken'):
        time_paired({'a': fail}, num_threads=before + 1)
    assert torch.get_num_threads() == before and gc.isenabled()


@pytest.mark.parametrize('wrong, message', [
    ({'calls': {}}, 'Nothing to time'), ({'budget': -1}, 'budget -1'), ({'warmup': 0}, 'warmup 0'),
    ({'min_rounds': 9, 'max_rounds': 3}, 'rounds 9 to 3'), ({'num_threads': 0}, 'threads is 0'),
])
def test_numbers_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        time_paired(**{'calls': {'a': lambda: None}, **wrong})


def test_a_name_that_was_not_timed_is_named():
    with pytest.raises(UserError, match=r"'dens' was not timed\. Did you mean dense"):
        PairedTimes({'dense': [1.0]}).ratio('dense', 'dens')


@pytest.mark.cuda
def test_cuda_is_waited_for():
    a = torch.rand(8192, 8192, device='cuda')
    times = time_paired({'one': lambda: a @ a, 'four': lambda: [a @ a for _ in range(4)]}, device='cuda', budget=2)
    assert times.ratio('four', 'one').median == pytest.approx(4, rel=0.2)
