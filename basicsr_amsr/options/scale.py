"""The scale of the file and that of the network: written once, or equal."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr_amsr.errors import UserError
from basicsr_amsr.options import schemas
from basicsr_amsr.options.mistakes import Place, Problem, prefix, value_at

ARGUMENTS = ('upscale', 'scale')
NETWORKS: tuple[tuple[Place, str], ...] = ((('network_g',), 'arch'), (('network_g', 'backbone'), 'backbone'))


def give_scale(options: dict[str, Any]) -> None:
    """Let the network have the scale of the file, where its class takes one and the file gives it none."""
    for place, key in _scale_options(options):
        if options.get('scale') is not None:
            value_at(options, place).setdefault(key, options['scale'])


def check_scale(options: Mapping[str, Any]) -> Iterator[Problem]:
    """A network that is built for another scale than that of the file."""
    scale = options.get('scale')
    for place, key in _scale_options(options):
        given = value_at(options, place).get(key)
        if given is not None and scale is not None and given != scale:
            yield Problem((*place, key), f'{prefix(place)}{key} is {given!r}, but scale is {scale!r}: make them agree, '
                          f'or leave {key} out.')


def _scale_options(options: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """The places in `network_g:` whose class has an argument for the scale, and its name."""
    for place, kind in NETWORKS:
        values = value_at(options, place)
        if not isinstance(values, Mapping):
            return
        try:
            fields = schemas.of_named(kind, schemas.find(kind, values.get('type'))).model_fields
        except UserError:
            return
        yield from ((place, key) for key in ARGUMENTS if key in fields)
