"""Turns what a run of BasicSR raises for a mistake in options or data into one line that names file and key."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr_amsr.cli.options import mappings
from basicsr_amsr.errors import UnknownName, UserError
from basicsr_amsr.options.mistakes import value_at
from basicsr_amsr.reasons import BASICSR, OURS, PLAIN, is_out_of_memory, origin, reason


def explain(error: Exception, options: Mapping[str, Any], file: str, place: str = '',
            model: Any = None) -> UserError | None:
    """The user's mistake behind `error`, or None where it may be a fault of this package.

    Args:
        error: raised while BasicSR built or ran what the options ask for.
        options: all options.
        file: the option file, for the message.
        place: the part of the options that was at work, such as 'datasets: train: ', where that is known.
        model: that trained, if one did.
    """
    if isinstance(error, UserError):
        start = _name_place(error, options) or place
        told = str(error) if str(error).startswith(start) else f'{start}{error}'
        return error if file in told or told.startswith('--') else UserError(f'{file}: {told}')
    if is_out_of_memory(error):
        return UserError(f'{file}: memory ran out in training: lower datasets: train: batch_size_per_gpu or gt_size.')
    if isinstance(error, (OSError, ModuleNotFoundError)):
        return UserError(f'{file}: {place}{reason(error)}.')
    sizes = _sizes(model)
    if sizes and isinstance(error, RuntimeError):
        name = value_at(options, ('network_g', 'type'))
        return UserError(f'{file}: network_g: {name} makes {sizes[0]} where the ground truth is {sizes[1]}: it does '
                         f'not have scale {options.get("scale")}.')
    found = origin(error)
    if found is None or found[0].startswith(OURS):
        return None
    source, line = found
    where = '' if isinstance(error, PLAIN) and source.startswith(BASICSR) else f' ({Path(source).name}, line {line})'
    return UserError(f'{file}: {place}{reason(error)}{where}.')


def _sizes(model: Any) -> tuple[str, str] | None:
    """The sizes of what a model has made and of the ground truth, where they differ."""
    made, truth = (getattr(getattr(model, name, None), 'shape', ())[-2:] for name in ('output', 'gt'))
    return ('x'.join(map(str, made)), 'x'.join(map(str, truth))) if made and truth and made != truth else None


def _name_place(error: UserError, options: Mapping[str, Any]) -> str:
    """Finds where an unknown name stands in the options; '' for other mistakes."""
    if isinstance(error, UnknownName):
        for place, mapping in mappings(options):
            if 'type' in mapping and f"'{mapping['type']}'" in str(error):
                return f'{place}type: '
    return ''
