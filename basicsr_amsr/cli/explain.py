"""Turns what BasicSR raises for a mistake in the options into one line that names the key."""
from __future__ import annotations

import inspect
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import basicsr
import torch

from basicsr_amsr.cli.options import mappings
from basicsr_amsr.errors import UnknownName, UserError, suggestion, without_worker_traceback
from basicsr_amsr.registry import REGISTRIES

UNEXPECTED = re.compile(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
MISSING = re.compile(r"(\w+)(?:\.__init__)?\(\) missing \d+ required [\w-]+ arguments?: (.+)")
COMPLAINTS = (AssertionError, ValueError, NotImplementedError)
BASICSR = os.path.dirname(os.path.abspath(basicsr.__file__)) + os.sep


def explain(error: Exception, options: Mapping[str, Any], file: str, place: str = '') -> UserError | None:
    """The user's mistake behind `error`, or None where it may be a bug.

    Args:
        error: raised while BasicSR built or ran what the options ask for.
        options: all options.
        file: the option file, for the message.
        place: the part of the options that was at work, such as 'datasets: train: ', where that is known.
    """
    if isinstance(error, UserError):
        return error if file in str(error) else UserError(f'{file}: {_name_place(error, options) or place}{error}')
    if isinstance(error, FileNotFoundError) and error.filename:
        return UserError(f'{file}: {place}{error.filename} does not exist.')
    if isinstance(error, TypeError):
        text = _keyword_mistake(str(error), options)
        return UserError(f'{file}: {text}') if text else None
    if isinstance(error, COMPLAINTS) and str(error) and _innermost(error).startswith(BASICSR):
        text = ' '.join(without_worker_traceback(str(error)).split())
        return UserError(f'{file}: {place}{text}')
    return None


def _name_place(error: UserError, options: Mapping[str, Any]) -> str:
    """Where the name stands that no registry has; '' for other mistakes."""
    if isinstance(error, UnknownName):
        for place, mapping in mappings(options):
            if 'type' in mapping and f"'{mapping['type']}'" in str(error):
                return f'{place}type: '
    return ''


def _keyword_mistake(text: str, options: Mapping[str, Any]) -> str | None:
    """What is wrong where a class was called with the options under one key; None where no option is to blame."""
    if match := UNEXPECTED.search(text):
        name, key = match.groups()
        for place, mapping in _called(name, options):
            if key in mapping:
                return f"{place}{name} has no option '{key}'. {suggestion(key, _keywords(name))}"
    if match := MISSING.search(text):
        name, keys = match.groups()
        for place, _ in _called(name, options):
            return f'{place}{name} needs {keys}.'
    return None


def _called(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The mappings whose `type:` is `name`; a model may take `type:` out before it calls, hence those without too."""
    found = list(mappings(options))
    yield from ((place, mapping) for place, mapping in found if mapping.get('type') == name)
    yield from ((place, mapping) for place, mapping in found if 'type' not in mapping)


def _keywords(name: str) -> list[str]:
    """The keyword arguments of a class or function in a registry or in torch.optim."""
    known = [registry.get(name) for registry in REGISTRIES.values() if name in registry]
    known.extend(filter(None, [getattr(torch.optim, name, None)]))
    for called in filter(callable, known):
        return [p.name for p in inspect.signature(called).parameters.values()
                if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return []


def _innermost(error: Exception) -> str:
    """The source file that raised it; a data loader's worker sends the traceback as text."""
    inside = re.findall(r'File "([^"]+)", line', str(error))
    frames = traceback.extract_tb(error.__traceback__)
    return inside[-1] if inside else (frames[-1].filename if frames else '')
