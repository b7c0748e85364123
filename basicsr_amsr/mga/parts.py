"""Base net and refine net of a backbone that stands in the options."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr_amsr.backbones.spec import MGASplit, get_backbone
from basicsr_amsr.errors import UserError


def split_backbone(backbone: Mapping[str, Any], split_blocks: tuple[int, int] | None) -> tuple[MGASplit, int]:
    """Base net and refine net of a registered backbone, and its scale.

    Raises:
        UserError: the backbone is unknown, has no scale, or cannot be split.
    """
    options = dict(backbone)
    if 'type' not in options:
        raise UserError('network_g: backbone has no type; write for instance backbone: {type: RCAN, upscale: 4}.')
    spec = get_backbone(options.pop('type'))
    options = spec.options(options)
    if 'upscale' not in options:
        raise UserError(f'network_g: backbone {spec.name} has no upscale; write upscale: 2, 3 or 4.')
    try:
        return spec.cut(split_blocks, **options), options['upscale']
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
