"""One comparison: who is let in, in which order they run, on which image, and what an interruption leaves."""
import time

import pytest
import torch
from torch import nn

from basicsr_amsr.bench.contenders import Contender, Equality
from basicsr_amsr.bench.rounds import Settings, measure
from basicsr_amsr.errors import UserError


class Logged(nn.Module):
    """Writes down its name and the image that it gets; long enough not to be repeated within a sample."""

    def __init__(self, name, log, fail_at=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.name, self.log, self.fail_at, self.calls = name, log, fail_at, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.log.append((self.name, round(float(x[0, 0, 0, 0]))))
        time.sleep(0.003)
        return self.conv(x)


IMAGES = [torch.full((1, 3, 6, 8), float(value)) for value in range(3)]


def contenders(log, kinds=('dense', 'dense', 'reference', 'sparse', 'sparse'), **failures):
    return [Contender(f'{kind}{number}', 'torch', Logged(number, log, failures.get(f'fail{number}')), kind)
            for number, kind in enumerate(kinds)]


def test_each_round_runs_every_contender_once_in_a_changing_order_on_the_next_image():
    log = []
    found = measure(contenders(log), IMAGES, Settings(rounds=7))
    assert found.times.rounds == 7 and not found.interrupted
    timed = log[-8 * 5:]  # the warm-up is a round on the first image
    rounds = [timed[start:start + 5] for start in range(0, len(timed), 5)]
    assert all(sorted(name for name, _ in one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len({tuple(name for name, _ in one) for one in rounds[1:]}) > 4
    assert [{image for _, image in one} for one in rounds] == [{0}, {0}, {1}, {2}, {0}, {1}, {2}, {0}]


def test_sparse_forms_are_counted_on_every_image_and_dense_ones_on_one():
    log = []
    found = measure(contenders(log), IMAGES, Settings(rounds=1))
    counted = log[:-2 * 5]
    assert [name for name, _ in counted] == [0, 1, 2, 3, 3, 3, 4, 4, 4]
    assert set(found.macs.values()) == {9 * 48.0} and set(found.mask_ratios.values()) == {1.0}


def test_seconds_bound_the_rounds_from_five_on():
    assert measure(contenders([]), IMAGES, Settings(seconds=0)).times.rounds == 5


def refusing(log, number, **changes):
    every = contenders(log)
    one = every[number]
    every[number] = Contender(one.form, one.backend, one.net, one.kind, **changes)
    return every


def test_what_computes_the_wrong_thing_is_not_timed():
    log = []
    wrong = (Equality('the truth', lambda x: x, lambda x: x + 1),)
    found = measure(refusing(log, 3, equalities=wrong), IMAGES, Settings(rounds=2))
    (name, why), = found.refused.items()
    assert name == 'sparse3 (torch)' and 'differs from that of the truth' in why
    assert [one.form for one in found.contenders] == ['dense0', 'dense1', 'reference2', 'sparse4']
    assert 3 not in {name for name, _ in log} and list(found.times.milliseconds) == list(found.macs)


def test_another_share_than_the_one_asked_for_is_not_timed():
    found = measure(refusing([], 4, share=0.5, slack=0.01), IMAGES, Settings(rounds=1))
    assert found.refused == {'sparse4 (torch)': 'it computed 1.0000 of the image instead of 0.5000'}


def test_without_a_dense_form_nothing_is_timed():
    log = []
    wrong = (Equality('the truth', lambda x: x, lambda x: x + 1),)
    every = [Contender(one.form, one.backend, one.net, one.kind, equalities=wrong) for one in contenders(log)]
    found = measure(every, IMAGES, Settings(rounds=1))
    assert found.times is None and len(found.refused) == 2 and not log


def test_an_interruption_leaves_the_complete_rounds():
    # Counting is 3 calls, warming up the 4th, so round 3 breaks.
    found = measure(contenders([], fail3=3 + 1 + 3), IMAGES, Settings(rounds=9))
    assert found.interrupted and found.times.rounds == 2
    assert all(len(values) == 2 for values in found.times.milliseconds.values())


@pytest.mark.parametrize('call', [2, 4, 5])  # while counting, warming up, and in the first round
def test_an_interruption_before_a_complete_round_leaves_nothing(call):
    with pytest.raises(KeyboardInterrupt):
        measure(contenders([], fail3=call), IMAGES, Settings(rounds=9))


def test_a_network_that_does_not_take_the_images_is_named():
    class Wrong(nn.Module):
        def forward(self, x):
            raise RuntimeError('mat1 and mat2 do not match')

    with pytest.raises(UserError, match=r'wrong \(torch\) does not take an input of 6x8'):
        measure([Contender('wrong', 'torch', Wrong(), 'dense')], IMAGES, Settings(rounds=1))


def test_a_compiler_that_fails_leaves_the_others(monkeypatch):
    def fail(net, **options):
        raise RuntimeError('no compiler\nhere')

    monkeypatch.setattr(torch, 'compile', fail)
    found = measure(contenders([]), IMAGES, Settings(rounds=1, compiled=True))
    assert found.refused == {f'dense{number} (torch.compile)': 'torch.compile fails: RuntimeError: no compiler here'
                             for number in (0, 1)}
    assert len(found.contenders) == 5


def test_what_is_compiled_competes_and_its_first_call_is_timed_apart(monkeypatch):
    def compile_slowly(net, **options):
        class Compiled(nn.Module):
            calls = 0

            def forward(self, x):
                time.sleep(0.4 if self.calls == 0 else 0)
                self.calls += 1
                return net(x)

        return Compiled()

    monkeypatch.setattr(torch, 'compile', compile_slowly)
    found = measure(contenders([]), IMAGES, Settings(rounds=2, compiled=True))
    assert [one.name for one in found.contenders[:4]] == [
        'dense0 (torch)', 'dense1 (torch)', 'dense0 (torch.compile)', 'dense1 (torch.compile)']
    assert all(seconds >= 0.4 for seconds in found.compile_seconds.values()) and len(found.compile_seconds) == 2
    assert found.times.latency('dense0 (torch.compile)').median < 300
    assert found.macs['dense1 (torch.compile)'] == found.macs['dense1 (torch)']
