"""What is wrong in an option file, one line for each mistake."""
from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.options import words
from basicsr_amsr.options.plain_yaml import parse_value
from basicsr_amsr.options.section import Section, sections_in

Place = tuple[str | int, ...]
NUMBERS = (int, float)


class OptionMistakes(UserError):
    """Several mistakes, each in its line; as one message they stand one after the other."""

    def __init__(self, lines: Sequence[str] | str) -> None:
        self._lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__(' '.join(self._lines))

    @property
    def lines(self) -> list[str]:
        return self._lines


@dataclass(frozen=True)
class Problem:
    """One mistake: the keys that lead to it, and the line that says what is wrong.

    Attributes:
        unknown: the key that a section does not know; the line can then be mended when all sections have been seen.
        missing: the key is not there; no line where a misspelt one is.
    """

    at: Place
    text: str
    unknown: str | None = None
    missing: bool = False


def shown(place: Place) -> str:
    """'datasets: train: gt_size', 'train: steps #2: iters'."""
    text = ''
    for part in place:
        text += f' #{part + 1}' if isinstance(part, int) else f'{": " if text else ""}{part}'
    return text


def prefix(place: Place) -> str:
    """'datasets: train: ', or nothing for the file as a whole."""
    return f'{shown(place)}: ' if place else ''


def explain(error: ValidationError, section: type[Section], values: Any, place: Sequence[str | int] = (),
            owner: str = '') -> list[Problem]:
    """pydantic's errors as problems, one for each key.

    Args:
        error: what validating `values` raised.
        section: the section that was asked for.
        values: what was given.
        place: keys that lead to the section.
        owner: the class that reads it, for 'SRModel has no option …'.
    """
    found: dict[Place, Problem] = {}
    for item in error.errors(include_url=False):
        inside, holder, field = _locate(section, item['loc'])
        at = (*place, *inside)
        if at not in found:
            found[at] = _problem(item, at, value_at(values, inside), holder, field, owner if holder is section else '')
    # Of several types a value is tried as each: what is wrong inside the one it looks like says more.
    return [problem for at, problem in found.items() if not any(len(at) < len(o) and o[:len(at)] == at for o in found)]


def _locate(section: type[Section], loc: Sequence[Any]) -> tuple[Place, type[Section], FieldInfo | None]:
    """The keys of pydantic's location that stand in the file, the section they end in, and the field there, if any."""
    path: list[str | int] = []
    field: FieldInfo | None = None
    inner: type[Section] | None = section
    holder = section
    alternative = False  # the next part says which of several types was tried
    for part in loc:
        if alternative:
            alternative = False
            if inner is None or part != inner.__name__:
                break
        elif isinstance(part, int) and field is not None and _inner(field):
            path.append(part)
            inner = _inner(field)
        elif inner is not None:
            path.append(part)
            holder, field = inner, inner.model_fields.get(part)
            inner = _inner(field) if field is not None else None
            alternative = inner is not None and field is not None and _alternatives(field) > 1
        else:
            break  # inside a value: which part of it is wrong, or which of several types did not fit
    return tuple(path), holder, field


def _inner(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, by itself or in a list."""
    return next(sections_in(field), None)


def _alternatives(field: FieldInfo) -> int:
    """The number of types that a field may have, None not counted."""
    union = get_origin(field.annotation) in (Union, types.UnionType)
    return len(set(get_args(field.annotation)) - {types.NoneType}) if union else 1


def _problem(item: Any, at: Place, value: Any, holder: type[Section], field: FieldInfo | None, owner: str) -> Problem:
    kind = item['type']
    if kind == 'extra_forbidden':
        return unknown_key(at, holder.model_fields, owner)
    if kind == 'missing' and item['loc'][-1] == at[-1]:  # else an item of a list that is too short
        return missing_key(at, field.description if field is not None else None)
    if kind == 'value_error':
        return Problem(at, f'{prefix(at)}{item["ctx"]["error"]}')
    if kind == 'model_type' or field is None:
        return Problem(at, f'{shown(at)} has to hold keys, not {value!r}.')
    return Problem(at, wrong_value(at, value, words.of_field(field)))


def unknown_key(at: Place, known: Iterable[str], owner: str = '') -> Problem:
    """A key that nothing reads."""
    who = f'{owner} has' if owner else 'there is'
    here = '' if owner or len(at) == 1 else ' here'
    return Problem(at, f"{prefix(at[:-1])}{who} no option '{at[-1]}'{here}. {suggestion(str(at[-1]), known)}",
                   unknown=str(at[-1]))


def missing_key(at: Place, about: str | None) -> Problem:
    """A key that has to be there."""
    meaning = f': {about.rstrip(".")}' if about else ''
    return Problem(at, f"{prefix(at[:-1])}'{at[-1]}' is missing{meaning}.", missing=True)


def wrong_value(at: Place, value: Any, wanted: str) -> str:
    """'train: total_iter is '5': it has to be a whole number, 1 or more (without quotes).'"""
    quoted = isinstance(value, str) and 'number' in wanted and is_number(value)
    return f'{shown(at)} is {value!r}: it has to be {wanted}{" (without quotes)" if quoted else ""}.'


def is_number(text: str) -> bool:
    """Whether YAML would read the text as a number if it had no quotes."""
    try:
        return isinstance(parse_value(text), NUMBERS) and text.strip().lower() not in ('true', 'false')
    except Exception:  # no YAML at all
        return False


def raise_problems(problems: Sequence[Problem], where: Callable[[Place], str]) -> None:
    """Raise what is wrong, if anything is, in the order of the file.

    Args:
        where: the file, and line if it is known, of a place.

    Raises:
        OptionMistakes: one line for each problem.
    """
    lines = list(dict.fromkeys(f'{where(problem.at)}: {problem.text}' for problem in problems))
    if lines:
        raise OptionMistakes(lines)


def value_at(values: Any, place: Place) -> Any:
    """The value at a place in the options; None where there is none."""
    for key in place:
        if isinstance(values, Mapping):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values
