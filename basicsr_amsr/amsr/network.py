"""`network_g: {type: AMSR, backbone: {…}, …}`: a plain network, accelerated when it is built."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from basicsr.utils import get_root_logger
from pydantic import Field, model_validator
from torch import nn
from typing_extensions import Self

from basicsr_amsr.amsr.accelerate import accelerate_
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.backbones.pretrained import build
from basicsr_amsr.backbones.spec import Backbone
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.backends.choice import BackendName
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import Count, File, Named, Number, Positive, PositiveNumber, Section, Share, Words
from basicsr_amsr.options.signature import section_of
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

Odd = Annotated[Positive, Words('an odd number of pixels')]


def backbone_section(backbone: Mapping[str, Any], network: Mapping[str, Any]) -> type[Section]:
    """What may stand in `backbone:` beside its type: of a backbone, else of a network of BasicSR's registry.

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


class SelectionOptions(Section):
    """Where a network computes; the arguments of HighFrequencyMask."""

    ratio: Share | None = Field(None, description='share of the tiles or windows to compute; ~: 2-means decides')
    sigma: PositiveNumber = Field(1.0, description='standard deviation in LR pixels of the Gaussian that is taken off')
    size: Odd = Field(5, description='side of its kernel')
    noise_discount: Number = Field(0.0, description="how much of the estimated noise's power is taken off, 1 for all")
    smooth: Odd = Field(1, description='side of the box over which the map of high frequencies is averaged')
    dilation: Count = Field(0, description='pixels by which the mask of 2-means grows')
    tile: Positive = Field(1, description='side of the tiles, 1 for pixels; windows are those of the network')
    threshold: Share = Field(0.0, description='a tile or window is computed if more than this share of it is in the '
                                              'mask of 2-means')
    level: Number | None = Field(None, description='compute the tiles or windows whose mean of the map is over this')
    relative: Share = Field(0.0, description="power of the image's mean by which a tile's is divided before")
    power: PositiveNumber = Field(1.0, description='exponent of the means over box and tile; 2: root mean square')

    @model_validator(mode='after')
    def _check_possible(self) -> Self:
        try:
            self.build()
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> HighFrequencyMask:
        """The selection itself."""
        return HighFrequencyMask(**self.model_dump())


class AMSROptions(Section):
    """Beside `type: AMSR`."""

    backbone: Annotated[dict[str, Any], Named('backbone', backbone_section)] = Field(
        description='the plain network, whose checkpoints and keys are those of this one')
    selection: SelectionOptions | None = Field(
        None, description='where it computes; default: that of the calibration, or ratio 0.5, tile 8, smooth 5')
    share: Share | None = Field(
        None, description='with a calibration: the share of the tiles that is computed of images like those it was '
                          'fitted to, more of a detailed one and less of a flat one; default: as it was fitted')
    inside: Literal['masked', 'exact'] = Field(
        'masked', description='inside a unit, what lies outside the mask is 0, or computed where it is needed')
    unit: Literal['residual', 'conv'] = Field(
        'residual', description="what is skipped as a whole; conv is the paper's formula, which needs training")
    budget: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="share of the dense network's MACs that an image may cost, in place of a ratio")
    dense_first: Count = Field(0, description='so many leading units stay dense')
    calibration: File | None = Field(
        None, description='a file of basicsr calibrate: predictions for skipped pixels; in place of inside, unit and '
                          'dense_first')
    mode: Literal['auto', 'sparse', 'dense_masked', 'dense'] = Field(
        'auto', description='auto: in training all is computed and masked; in tests the rest is skipped, or the plain '
                            'network runs, where that is measured to be faster. sparse: skipped in any case. '
                            'dense: nothing is skipped, on a CPU the native kernels compute all')
    backend: BackendName = Field(
        'auto', description='what convolves in sparse execution; auto: triton on NVIDIA GPUs where it is installed')
    piece: Positive | None = Field(
        None, description='in tests, larger images are computed in pieces of that side in LR pixels, to bound '
                          'memory')
    overlap: Count = Field(32, description='so many LR pixels around itself a piece reads too')


def AMSR(backbone: Mapping[str, Any], selection: Mapping[str, Any] | None = None, **options: Any) -> nn.Module:
    """The network `backbone` describes, converted by `accelerate_`, in channels-last.

    It is a network of the backbone's own class with its keys, so the plain network's checkpoint loads into it.

    Args:
        backbone: `{type: NAME, upscale: s, …}`, a backbone or a network of BasicSR's registry.
        selection: arguments of HighFrequencyMask.
        options: share, of the tiles, with a calibration (`Calibration.selection`); the others as in AMSRConfig: inside,
            unit, budget, dense_first, calibration (a file), mode, backend, piece, overlap.

    Raises:
        UserError: an option that makes no sense, or a network of which nothing can be skipped.
    """
    given = {'backbone': dict(backbone), 'selection': selection, **options}
    section = read(AMSROptions, given, 'network_g')
    try:
        chosen = None if section.selection is None else section.selection.build()
        file = section.calibration
        calibration = None if file is None else Calibration.load(resolve(file))
        if section.share is not None:
            chosen = _at_share(section.share, calibration, section)
        net = build(backbone)
        config = AMSRConfig(selection=chosen, inside=section.inside, unit=section.unit,  # type: ignore[arg-type]
                            budget=section.budget, dense_first=section.dense_first, calibration=calibration,
                            mode=section.mode, backend=section.backend, piece=section.piece, overlap=section.overlap)
        report = accelerate_(net, config)
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
    get_root_logger().info(f'AMSR: {report}')
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _at_share(share: float, calibration: Calibration | None, section: AMSROptions) -> HighFrequencyMask:
    if calibration is None:
        raise UserError(f'share is {share:g}, but there is no calibration to know its level: name a file of basicsr '
                        'calibrate in calibration, or give selection: {ratio: …}.')
    for name in ('selection', 'budget'):
        if getattr(section, name) is not None:
            raise UserError(f'share and {name} both say how much is computed: leave one of them out.')
    return calibration.selection(share)


AMSR.option_schema = AMSROptions  # type: ignore[attr-defined]
