"""What a mistake gets: its lines and exit code 2, and nothing is left behind."""
from __future__ import annotations

from pathlib import Path


def contents() -> list[str]:
    """Everything below the current folder, but for the option file that the tests write."""
    return sorted(str(path) for path in Path().rglob('*') if path.name != 'tiny.yml')


def mistakes(basicsr, command, options=None, *words) -> list[str]:
    """The lines of a command that has to end with exit code 2, without a traceback and without a new file."""
    before = contents()
    code, out, err = basicsr(command, options, *words)
    assert code == 2, (code, out, err)
    assert 'Traceback' not in err
    assert [path for path in contents() if path not in before and path not in ('experiments', 'results')] == []
    lines = [line for line in err.splitlines() if line.startswith('basicsr: error: ')]
    assert lines and all(len(line) < 600 for line in lines), err
    return [line.removeprefix('basicsr: error: ') for line in lines]


def mistake(basicsr, command, options=None, *words) -> str:
    """The only line."""
    (line,) = mistakes(basicsr, command, options, *words)
    return line
