"""Every wrong option file gets its line, exit code 2, and leaves nothing behind."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.wrong_options import AMSR, CASES, MGA, SR, TEST, Wrong, make_project, run


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project()


def contents():
    return sorted(str(path) for path in Path().rglob('*') if path.name != 'wrong.yml')


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.says)
def test_the_line_of_a_wrong_option_file(project, capsys, case):
    before = contents()
    assert case.old in case.file
    code, lines = run(case)
    assert lines == [f'basicsr: error: {line}' for line in case.lines]
    assert code == 2
    assert capsys.readouterr().out == ''
    assert contents() == before


def test_there_are_cases_for_all_kinds_of_files():
    assert len({case.says for case in CASES}) == len(CASES) >= 20
    assert {case.file for case in CASES} == {MGA, AMSR, SR, TEST}


@pytest.mark.parametrize('file', [MGA, AMSR, SR, TEST], ids=['MGA', 'AMSR', 'SR', 'test'])
def test_the_right_files_are_right(project, file):
    assert run(Wrong('nothing', file, '', '', ()))[0] == 0


@pytest.mark.parametrize('case', [CASES[0], CASES[-1]], ids=lambda case: case.says)
def test_in_a_process_of_its_own(project, case):
    run(case)  # writes the file
    done = subprocess.run([sys.executable, '-m', 'basicsr_amsr', *case.command, '-opt', 'wrong.yml', *case.words],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f'basicsr: error: {line}' for line in case.lines]
    assert not Path('experiments').exists() and not Path('results').exists()
