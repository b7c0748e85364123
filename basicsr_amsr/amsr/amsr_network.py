"""`network_g: {type: AMSR, backbone: {…}, …}`: a plain network, accelerated when it is built."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from basicsr.utils import get_root_logger
from pydantic import Field
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.backbones.spec import Backbone
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.memory_layout import lay_out
from basicsr_amsr.options.argument_sections import section_of
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import File, Named, Section, Share
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection.build_selection import DEFAULT, build_selection, section
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def backbone_section(backbone: Mapping[str, Any], network: Mapping[str, Any]) -> type[Section]:
    """The options that `backbone:` takes beside its type: those of the backbone, or network of BasicSR, of that name.

    Raises:
        UserError: there is nothing of that name.
    """
    name = backbone.get('type')
    if name in BACKBONE_REGISTRY:
        family: Backbone = BACKBONE_REGISTRY.get(name)
        return section_of(family.build, required=not family.defaults)
    if name in ARCH_REGISTRY:
        return section_of(ARCH_REGISTRY.get(name))
    known = [key for registry in (BACKBONE_REGISTRY, ARCH_REGISTRY) for key, _ in registry]
    raise UserError(f"network_g: backbone '{name}' is unknown. {suggestion(str(name), known)}")


_CONFIG: Any = section_of(AMSRConfig, ('selection', 'calibration'))  # which are given as keys and as a file


class AMSROptions(_CONFIG):
    """The options of `network_g: {type: AMSR, …}`: these and those of AMSRConfig."""

    nothing_is_default: ClassVar[bool] = True

    backbone: Annotated[dict[str, Any], Named('backbone', backbone_section)] = Field(
        description='the plain network, whose checkpoints and keys are those of this one')
    selection: Annotated[dict[str, Any], Named('selection', section, default=DEFAULT)] | None = Field(
        None, description='where it computes; default: that of the calibration, or keep 0.5, patch_size 8, smooth 5')
    keep: Share | None = Field(
        None, description='with a calibration: the share of the patches that is computed of images like those it was '
                          'fitted to, more of a detailed one and less of a flat one; default: as it was fitted')
    calibration: File | None = Field(
        None, description='a file of basicsr calibrate: predictions for skipped pixels; in place of unit and '
                          'dense_first')


def AMSR(backbone: Mapping[str, Any], selection: Mapping[str, Any] | None = None, **options: Any) -> nn.Module:
    """The network `backbone` describes, converted by `accelerate_`, in channels-last.

    It is a network of the backbone's own class with its keys, so the plain network's checkpoint loads into it.

    Args:
        backbone: `{type: NAME, upscale: s, …}`, a backbone or a network of BasicSR's registry.
        selection: `{type: NAME, …}`, one of the registry; HighFrequencyMask where no type is given.
        options: share, of the patches, with a calibration (`Calibration.selection`); the others as in AMSRConfig:
            unit, budget, dense_first, calibration (a file), mode, backend, tile, tile_pad.

    Raises:
        UserError: an option that makes no sense, or a network of which nothing can be skipped.
    """
    given = {'backbone': dict(backbone), 'selection': selection, **options}
    options_read = read(AMSROptions, given, 'network_g')
    try:
        chosen = None if selection is None else build_selection(selection)
        file = options_read.calibration
        calibration = None if file is None else Calibration.load(resolve(file))
        if options_read.keep is not None:
            chosen = _at_keep(options_read.keep, calibration, options_read)
        net = build(backbone)
        config = AMSRConfig(selection=chosen, calibration=calibration,  # type: ignore[arg-type]
                            **{name: getattr(options_read, name) for name in _CONFIG.model_fields})
        report = accelerate_(net, config)
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
    get_root_logger().info(f'AMSR: {report}')
    return lay_out(net)


def _at_keep(keep: float, calibration: Calibration | None, options: AMSROptions) -> HighFrequencyMask:
    if calibration is None:
        raise UserError(f'keep is {keep:g}, but there is no calibration to know its level: name a file of basicsr '
                        'calibrate in calibration, or give selection: {keep: …}.')
    for name in ('selection', 'budget'):
        if getattr(options, name) is not None:
            raise UserError(f'keep and {name} both say how much is computed: leave one of them out.')
    return calibration.selection(keep)


AMSR.option_schema = AMSROptions  # type: ignore[attr-defined]
