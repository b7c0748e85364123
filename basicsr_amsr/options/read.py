"""Reading a section, for a class that reads its own options."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from basicsr_amsr.options.mistakes import OptionMistakes, explain
from basicsr_amsr.options.section import Section

Read = TypeVar('Read', bound=Section)


def read(section: type[Read], values: Mapping[str, Any], *place: str | int, **context: Any) -> Read:
    """The section with these values.

    Args:
        section: its class.
        values: what the option file holds there.
        place: keys that lead to it, such as 'train'.
        context: what the section's validators ask for (`phase`, `scale`).

    Raises:
        UserError: one line for each mistake.
    """
    try:
        return section.model_validate(values, context=context)
    except ValidationError as error:
        raise OptionMistakes([problem.text for problem in explain(error, section, values, place)]) from error
