"""`selection: {type: NAME, …}` of an option file, through the registry of selections."""
from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator
from typing_extensions import Self

from basicsr_amsr.errors import UserError
from basicsr_amsr.options.argument_sections import section_of
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import Section
from basicsr_amsr.registry import SELECTION_REGISTRY, lookup

DEFAULT = 'HighFrequencyMask'


def build_selection(options: Mapping[str, Any]) -> Any:
    """Builds the selection that says where a network computes.

    Args:
        options: arguments of the class that `type` names, `HighFrequencyMask` where it names none.

    Raises:
        UserError: there is nothing of that name, or an option makes no sense.
    """
    given = {key: value for key, value in options.items() if key != 'type'}
    return _class(options)(**read(section(options), given, 'selection').model_dump())


def section(options: Mapping[str, Any], network: Mapping[str, Any] | None = None) -> type[Section]:
    """The schema of `selection:`, the options of the class that its `type` names; values that conflict are found too.

    Raises:
        UserError: there is no selection of that name.
    """
    return _section_of(_class(options))


def _class(options: Mapping[str, Any]) -> Any:
    name = options.get('type', DEFAULT)
    found = lookup(SELECTION_REGISTRY, name)
    if not hasattr(found, 'patches'):
        names = ', '.join(sorted(key for key, value in SELECTION_REGISTRY if hasattr(value, 'patches')))
        raise UserError(f"selection: {name} makes no mask of an image. There is: {names}.")
    return found


@functools.cache
def _section_of(cls: Any) -> type[Section]:
    fields: Any = section_of(cls)

    class Options(fields):
        @model_validator(mode='after')
        def _check_together(self) -> Self:
            try:
                cls(**self.model_dump())
            except UserError as error:
                raise ValueError(str(error)) from error
            return self

    return Options
