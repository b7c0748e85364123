"""Options as BasicSR reads them, a dict of dicts, that name what is missing."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr_amsr.errors import UserError, nearest


class MissingOption(UserError, KeyError):
    """A key that was asked for and is not in the option file."""

    __str__ = Exception.__str__  # KeyError's shows the quoted message


class Options(dict):
    """A dict whose missing keys are a user's mistake, named with their place: `opt['train']['scheduler']`.

    `get`, `in` and `pop` with a default are those of dict.

    Args:
        values: the options; dicts inside become Options, also those in lists.
        file: the option file, for the messages.
        place: where in the file these options stand, such as 'datasets: train: '.
    """

    def __init__(self, values: Mapping[str, Any], file: str, place: str = '') -> None:
        super().__init__({key: _wrap(value, file, f'{place}{key}: ') for key, value in values.items()})
        self.file = file
        self.place = place

    def __missing__(self, key: str) -> Any:
        near = nearest(key, self, count=1)
        hint = f' There is {near[0]}; is that what you mean?' if near else ''
        raise MissingOption(f"{self.file}: {self.place}'{key}' is missing.{hint}")

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self and not default:
            self.__missing__(key)
        return super().pop(key, *default)


def _wrap(value: Any, file: str, place: str) -> Any:
    if isinstance(value, Mapping):
        return Options(value, file, place)
    if isinstance(value, list):
        return [_wrap(item, file, place) for item in value]
    return value


def mappings(options: Mapping[str, Any], place: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping inside the options with its place, such as ('network_g: backbone: ', {...})."""
    yield place, options
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                yield from mappings(item, f'{place}{key}: ')
