"""Base net and refine net of a backbone that stands in the options."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from basicsr_amsr.backbones.spec import Backbone, get_backbone
from basicsr_amsr.backbones.split import MGASplit
from basicsr_amsr.errors import UnknownName, UserError, suggestion
from basicsr_amsr.options.argument_sections import section_of
from basicsr_amsr.options.section import Section
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY

CUT = ('body', 'tail')
SCALES = tuple(range(1, 17))  # of networks that say nothing about theirs


class Parts(NamedTuple):
    """A backbone cut in two, with the body blocks of base and refine net, and the scale."""

    split: MGASplit
    split_blocks: tuple[int, int]
    scale: int


def find_family(backbone: Mapping[str, Any], cut: Mapping[str, str] | None = None) -> tuple[Backbone, dict[str, Any]]:
    """The network family that `{type: NAME, …}` names, and its options, the published ones included.

    Raises:
        UserError: there is none of that name, or it has no such scale.
    """
    options = dict(backbone)
    if 'type' not in options:
        raise UserError('network_g: backbone has no type; write for instance backbone: {type: RCAN, upscale: 4}.')
    name = options.pop('type')
    family = known_family(name) if cut is None else named_family(name, cut)
    try:
        return family, family.options(options)
    except UserError as error:
        raise UserError(f'network_g: {error}') from error


def backbone_section(backbone: Mapping[str, Any], network: Mapping[str, Any]) -> type[Section]:
    """What may stand in `backbone:` beside its type, in the options of the network.

    Raises:
        UserError: as `find_family`, or the family cannot be split.
    """
    family, _ = find_family(backbone, network.get('cut'))
    if not family.methods:
        raise UserError(f'network_g: the backbone {family.name} has no split for MGA (see `basicsr list backbone`).')
    return section_of(family.split or family.build, ('base_blocks', 'refine_blocks'), required=not family.defaults)


def split_backbone(backbone: Mapping[str, Any], split_blocks: Sequence[int] | None = None,
                   cut: Mapping[str, str] | None = None) -> Parts:
    """Base net and refine net of a backbone.

    Args:
        backbone: `{type: NAME, upscale: s, …}`.
        split_blocks: body blocks of base and refine net; default are the family's.
        cut: `{body: path, tail: path}` cuts a network by name, also one that is no backbone but in BasicSR's ARCH
            registry (backbones/chain.py).

    Raises:
        UserError: the backbone is unknown, has no scale, or cannot be split.
    """
    family, options = find_family(backbone, cut)
    if 'upscale' not in options and not family.body:
        raise UserError(f'network_g: backbone {family.name} has no upscale; write upscale: 2, 3 or 4.')
    try:
        split = family.cut(split_blocks, **options)
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
    base_blocks, refine_blocks = split_blocks or family.split_blocks or (0, 0)
    return Parts(split, (base_blocks, refine_blocks), split.scale or options['upscale'])


def known_family(name: str) -> Backbone:
    """The registered backbone.

    Raises:
        UserError: there is none of that name; for a network of BasicSR's, how it is cut by name.
    """
    try:
        return get_backbone(name)
    except UnknownName as error:
        if name in ARCH_REGISTRY:
            raise UserError(f"network_g: '{name}' is a network, but no backbone: say where to cut it, cut: {{body: its "
                            'list of blocks, tail: its upsampler}, and split_blocks (docs/own_backbone.md).') from error
        raise UserError(f'network_g: backbone: {error}') from error


def named_family(name: str, cut: Mapping[str, str]) -> Backbone:
    """The network of that name, backbone or not, to be cut where `cut` says."""
    for key in cut:
        if key not in CUT:
            raise UserError(f"network_g: cut has an unknown key '{key}'. {suggestion(key, CUT)}")
    missing = [key for key in CUT if key not in cut]
    if missing:
        raise UserError(f"network_g: cut has no {' and no '.join(missing)}: write cut: {{body: blocks, tail: "
                        'upsampler}, the attributes of the network that hold them.')
    if name in BACKBONE_REGISTRY:
        return replace(get_backbone(name), split=None, divide=None, split_blocks=None, body=cut['body'],
                       tail=cut['tail'])
    if name not in ARCH_REGISTRY:
        known = [key for registry in (BACKBONE_REGISTRY, ARCH_REGISTRY) for key, _ in registry]
        raise UserError(f"network_g: backbone '{name}' is unknown. {suggestion(name, known)}")
    return Backbone(name, ARCH_REGISTRY.get(name), scales=SCALES, body=cut['body'], tail=cut['tail'])
