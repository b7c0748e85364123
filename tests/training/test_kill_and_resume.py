"""Trainings killed with SIGKILL go on bit by bit: a few of the table here, all of it with `pytest -m slow`."""
import subprocess
import sys

import pytest


def run(repository, *words):
    done = subprocess.run([sys.executable, repository / 'benchmarks' / 'kill_and_resume.py', *words],
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f'{done.stdout}\n{done.stderr}'
    return done.stdout


def test_a_few_places(repository):
    assert '10 of 10 equal' in run(repository, '--quick')


@pytest.mark.slow
def test_every_step_and_place_with_and_without_workers_and_average(repository):
    print(run(repository))
