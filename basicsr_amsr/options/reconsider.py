"""A second look at what is wrong, when all sections of a file are known: keys that stand in the wrong section."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from basicsr_amsr.errors import nearest
from basicsr_amsr.options.mistakes import Place, Problem, shown, value_at


def reconsider(problems: Sequence[Problem], options: Mapping[str, Any],
               known: Mapping[Place, set[str]]) -> list[Problem]:
    """The problems, each mistake once, and an unknown key with the section it belongs to.

    Args:
        problems: what each section by itself finds wrong.
        options: all options.
        known: the keys that each section has, given or not.
    """
    return [_with_home(problem, known) for problem in problems
            if not _is_said_elsewhere(problem, options, known) and not _is_misspelt(problem, problems)]


def _homes(problem: Problem, known: Mapping[Place, set[str]]) -> list[Place]:
    """Other sections that have the key which is unknown here."""
    return [place for place, keys in known.items() if problem.unknown in keys and place != problem.at[:-1]]


def _is_said_elsewhere(problem: Problem, options: Mapping[str, Any], known: Mapping[Place, set[str]]) -> bool:
    """Whether an unknown key stands with the same value where it belongs: what it asks for happens."""
    value = value_at(options, problem.at)
    return value is not None and any(value_at(options, (*home, str(problem.unknown))) == value
                                     for home in _homes(problem, known))


def _is_misspelt(problem: Problem, problems: Sequence[Problem]) -> bool:
    """Whether a missing key is there under a name whose own line suggests the right one."""
    return problem.missing and any(
        other.at[:-1] == problem.at[:-1] and not other.missing
        and nearest(str(other.at[-1]), [str(problem.at[-1])]) for other in problems)


def _with_home(problem: Problem, known: Mapping[Place, set[str]]) -> Problem:
    homes = _homes(problem, known)
    if problem.unknown is None or not homes:
        return problem
    home = f'under `{shown(homes[0])}:`' if homes[0] else 'at the top level of the file'
    return replace(problem, text=f'{problem.text[:problem.text.index(". ")]}; it belongs {home}.')
