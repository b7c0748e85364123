"""How many channels the images of a network and of a data set have, as far as the options tell."""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr_amsr.errors import UserError
from basicsr_amsr.options import schemas
from basicsr_amsr.registry import BACKBONE_REGISTRY

TAKEN = ('num_in_ch', 'in_nc', 'in_chans')
MADE = ('num_out_ch', 'out_nc')


def of_network(network: Mapping[str, Any], keys: tuple[str, ...] = TAKEN) -> int | None:
    """Channels that a `network_g:` takes: its option, else its family's, else its default; None where none tells."""
    options = {**network, **(network.get('backbone') or {})}
    try:
        parameters = dict(inspect.signature(schemas.find('arch', options.get('type'))).parameters)
    except (UserError, TypeError, ValueError):
        parameters = {}
    if keys == MADE and not any(key in parameters for key in MADE):
        keys = TAKEN  # one number for both, as DnCNN has
    given = next((options[key] for key in keys if key in options), None)
    if given is None and options.get('type') in BACKBONE_REGISTRY:
        return BACKBONE_REGISTRY.get(options['type']).channels
    if given is None:
        given = next((parameters[key].default for key in keys if key in parameters), None)
    return given if isinstance(given, int) else None


def of_dataset(values: Mapping[str, Any]) -> int | None:
    """Channels of the images of one of BasicSR's data sets or ours; None for others."""
    try:
        module = schemas.find('dataset', values.get('type')).__module__
    except UserError:
        return None
    known = module.split('.')[0] in ('basicsr', 'basicsr_amsr')
    return (1 if values.get('color') in ('y', 'gray') else 3) if known else None
