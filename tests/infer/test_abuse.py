"""Hostile input to `basicsr infer`, by kinds, a few cases of each or many: a line names it, and the rest is done."""
import random

import pytest

from tests.infer.abuse.kinds import KINDS, verdicts
from tests.infer.abuse.outcome import Outcome, Place, wrong

LONG = ('killed', 'odd names', 'full disks')  # that start processes; test_infer.py has a few of theirs


@pytest.mark.parametrize(('kind', 'much'), [
    *(pytest.param(kind, False, marks=pytest.mark.slow if kind in LONG else [], id=kind) for kind in KINDS),
    *(pytest.param(kind, True, marks=pytest.mark.slow, id=f'{kind}, much') for kind in KINDS)])
def test_survives(kind, much, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = list(verdicts(kind, Place(tmp_path), random.Random(1), much))
    bad = [f'{each.what}: {each.wrong}' for each in found if each.wrong]
    assert found and not bad, bad[:10]


@pytest.mark.parametrize(('outcome', 'line'), [
    (Outcome(1, '', 'x'), 'exit code 1'), (Outcome(None, '', 'Traceback: x'), 'exit code None'),
    (Outcome(2, '', 'Traceback\nbasicsr: error: m.png'), 'traceback'), (Outcome(2, '', 'm.png'), '0 lines'),
    (Outcome(0, '', 'basicsr: error: m.png'), '1 lines'), (Outcome(2, '', 'basicsr: error: n.png'), 'is in 0 lines'),
    (Outcome(2, '', 'basicsr: error: m.png\nhello'), 'said hello'), (Outcome(2, '', 'basicsr: error: m.png'), 'half'),
    (Outcome(2, '', 'basicsr: error: m.png'), 'absent')])
def test_what_does_not_survive_is_seen(tmp_path, outcome, line):
    if line == 'half':
        (tmp_path / 'a.png').write_bytes(b'\x89PNG')
    trouble = wrong(outcome, tmp_path, (0, 2), ['m.png'], ['b.png'] if line == 'absent' else [], quiet=True)
    assert line in str(trouble)
