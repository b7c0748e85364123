"""Trainings killed with SIGKILL go on bit by bit, and two processes train as one: a few rows of the tables, all of them
with `pytest -m slow`."""
import subprocess
import sys

import pytest


def run(repository, *words, script='kill_and_resume'):
    done = subprocess.run([sys.executable, '-m', f'tests.training.{script}', *words], cwd=repository,
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f'{done.stdout}\n{done.stderr}'
    return done.stdout


@pytest.mark.slow
def test_a_few_places(repository):
    assert '10 of 10 equal' in run(repository, '--quick')


@pytest.mark.slow
def test_every_step_and_place_with_and_without_workers_and_average(repository):
    print(run(repository))


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(repository):
    print(run(repository, '--quick', script='two_processes'))


@pytest.mark.slow
def test_two_processes_with_workers_and_average_killed_and_resumed(repository):
    print(run(repository, script='two_processes'))
