"""Turns what BasicSR raises for a mistake in the options into one line that names the key."""
from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from typing import Any

import basicsr

from basicsr_amsr.cli.options import mappings
from basicsr_amsr.errors import UnknownName, UserError, without_worker_traceback

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


def _innermost(error: Exception) -> str:
    """The source file that raised it; a data loader's worker sends the traceback as text."""
    inside = re.findall(r'File "([^"]+)", line', str(error))
    frames = traceback.extract_tb(error.__traceback__)
    return inside[-1] if inside else (frames[-1].filename if frames else '')
