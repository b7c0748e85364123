"""What a value can be, in words: for the lines that a mistake gets, and for the reference."""
from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from basicsr_amsr.options.section import Named, Words

PLAIN = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text', type(None): '~'}
PLURAL = {int: 'whole numbers', float: 'numbers', bool: 'of true and false', str: 'texts'}


def of_field(field: FieldInfo) -> str:
    """What a field of a section can be, such as 'a whole number, 1 or more'."""
    return of_type(field.annotation, field.metadata)


def of_type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a value of this type can be; ~ is not named where anything else is possible."""
    metadata = list(_flat(metadata))
    for mark in metadata:
        if isinstance(mark, Words):
            return mark.text
        if isinstance(mark, Named):
            return '{type: …}'
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return of_type(args[0], [*args[1:], *metadata])
    if origin in (Union, types.UnionType):
        choices = [of_type(arg, metadata) for arg in args if arg is not type(None)]
        return ', or '.join(dict.fromkeys(choices))
    if origin is Literal:
        return joined([str(arg) for arg in args if arg is not None])
    if annotation in PLAIN:
        return PLAIN[annotation] + _bounds(metadata)
    kind = origin or annotation
    if isinstance(kind, type) and issubclass(kind, (BaseModel, Mapping)):
        return 'keys'
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return _several(kind, [arg for arg in args if arg is not Ellipsis], metadata)
    return 'anything'


def joined(names: Sequence[str]) -> str:
    """'a, b or c'."""
    return ' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            yield from mark.metadata
        else:
            yield mark


def _bounds(metadata: Sequence[Any]) -> str:
    low, high = _limit(metadata, 'ge', 'gt'), _limit(metadata, 'le', 'lt')
    if low and high:
        return f'{" above " if low[1] else " from "}{low[0]:g} to {"below " if high[1] else ""}{high[0]:g}'
    if low:
        return f' above {low[0]:g}' if low[1] else f', {low[0]:g} or more'
    if high:
        return f' below {high[0]:g}' if high[1] else f', {high[0]:g} or less'
    return ''


def _limit(metadata: Sequence[Any], inclusive: str, exclusive: str) -> tuple[float, bool] | None:
    for mark in metadata:
        for name in (inclusive, exclusive):
            value = getattr(mark, name, None)
            if value is not None:
                return value, name == exclusive
    return None


def _several(kind: type, items: Sequence[Any], metadata: Sequence[Any]) -> str:
    lengths = [getattr(mark, 'min_length', None) for mark in metadata]
    least = next((length for length in lengths if length), None)
    count = f'{len(items)} ' if kind is tuple and len(items) > 1 else ''
    if not items or items[0] is Any:
        return f'a list of {least} or more' if least else 'a list'
    item, marks = items[0], []
    if get_origin(item) is Annotated:
        item, *marks = get_args(item)
    if item in PLURAL:
        return f'a list of {count}{PLURAL[item]}{_bounds(list(_flat(marks)))}'
    return f'a list of {count}{{…}}' if of_type(item) == 'keys' else f'a list of {count}items, each {of_type(item)}'
