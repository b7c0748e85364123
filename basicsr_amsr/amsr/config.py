"""What `accelerate_` does to a network."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.backbones.skipping import Selection
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import BACKENDS, BackendName
from basicsr_amsr.execution.openvino import openvino_version
from basicsr_amsr.options.argument_sections import section_of
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import Count, Positive
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def default_selection() -> HighFrequencyMask:
    """Half of the patches of 8×8."""
    return HighFrequencyMask(keep=0.5, smooth=5, patch_size=8)


def calibrated_selection() -> HighFrequencyMask:
    """What `basicsr calibrate` starts from: half of the patches of 4×4."""
    return HighFrequencyMask(keep=0.5, sigma=0.6, noise_discount=1.0, smooth=3, patch_size=4, power=2.0, relative=0.25)


@dataclass(frozen=True)
class AMSRConfig:
    """How a network is accelerated.

    Args:
        selection: where it computes: the options of `HighFrequencyMask`. Default: what the calibration was fitted with,
            or half of the patches of 8×8. `Calibration.selection` gives it for another share of the patches.
        unit: what is skipped as a whole: 'residual' units, or inside them each 'conv' by itself that has as many
            channels coming in as going out (the paper's formula; without training it ruins the picture).
        budget: share of the dense network's MACs that an image may cost, in place of a fixed share: as many patches or
            windows are computed as it allows.
        dense_first: so many units, the first ones, stay dense.
        calibration: what `basicsr calibrate` found for the network (`Calibration.load`). Then the whole network behind
            its first convolution is computed at active patches alone, and what they read around themselves is
            predicted; `unit` and `dense_first` play no part.
        mode: 'sparse' skips, without gradients; 'dense_masked' computes everything and masks it, with gradients;
            both give the same. 'auto': dense_masked in training mode or while gradients are recorded; else sparse, or
            the plain network runs where measured costs say that this is faster for the image (docs/amsr.md).
            'dense': nothing is skipped; at inference on a CPU the native kernels run the whole network, of any class,
            to rounding, or in bf16 under torch.autocast. selection, budget and calibration play no part.
        backend: what runs sparse execution: 'torch' operators, 'triton' kernels, or 'auto': Triton on NVIDIA GPUs where
            it is installed; with a calibration on a CPU the native kernels, where there are some; else torch. With
            `mode: dense` on a CPU: 'native' kernels, 'openvino', or 'auto', the fastest (docs/dense.md).
        tile: at inference, images that are larger than so many LR pixels, on either side, are computed in tiles of
            that side, with the masks of the whole image, which bounds memory; ~: never.
        tile_pad: so many LR pixels around itself a tile reads too. Where that is as far as the network sees, the image
            is that of the whole; averages over the image (channel attention) are over the tile.

    Raises:
        UserError: a value that is not possible, named.

    Examples:
        >>> calibration = sr.Calibration.load('pretrained/RFDN_x4.amsr')
        >>> fewer = sr.AMSRConfig(calibration=calibration, selection=calibration.selection(keep=0.2))
        >>> whole = sr.AMSRConfig(mode='dense')  # every pixel, by the native kernels
    """

    selection: Selection = None  # type: ignore[assignment]  # __post_init__ chooses
    unit: Literal['residual', 'conv'] = 'residual'
    budget: Annotated[float, Field(gt=0, le=1)] | None = None
    dense_first: Count = 0
    calibration: Calibration | None = None
    mode: Literal['auto', 'sparse', 'dense_masked', 'dense'] = 'auto'
    backend: BackendName | Literal['native', 'openvino'] = 'auto'
    tile: Positive | None = None
    tile_pad: Count = 32

    def __post_init__(self) -> None:
        read(section_of(AMSRConfig), vars(self))
        default = self.calibration.selection() if self.calibration else default_selection()
        if self.selection is None:
            object.__setattr__(self, 'selection', default)
        if self.budget is not None:
            self._check_budget(self.budget, default)
        if self.backend in ('native', 'openvino') and self.mode != 'dense':
            raise UserError(f'backend: {self.backend} runs whole networks, mode: dense. With mode: {self.mode} '
                            f'there is: {", ".join(BACKENDS)}.')
        if self.backend == 'openvino' and openvino_version() is None:
            raise UserError('backend: openvino is not installed: pip install openvino.')
        if self.calibration is not None and (self.unit, self.dense_first) != ('residual', 0):
            raise UserError('calibration: unit and dense_first are for networks without one: leave them out.')

    def _check_budget(self, budget: float, default: Selection) -> None:
        for rule in ('keep', 'level'):
            if self.selection != default and getattr(self.selection, rule, None) is not None:
                raise UserError(f'budget is {budget!r}, but the selection has a {rule}, '
                                f'{getattr(self.selection, rule)!r}: give one of them.')
