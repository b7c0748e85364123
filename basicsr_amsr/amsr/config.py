"""What `accelerate_` does to a network."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.backbones.skipping import Selection
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.backends.choice import BackendName, check_backend
from basicsr_amsr.execution.oracle import check_inside
from basicsr_amsr.execution.unit import Inside
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

UNITS = ('residual', 'conv')
MODES = ('auto', 'sparse', 'dense_masked', 'dense')


def default_selection() -> HighFrequencyMask:
    """Half of the tiles of 8×8."""
    return HighFrequencyMask(ratio=0.5, smooth=5, tile=8)


def calibrated_selection() -> HighFrequencyMask:
    """What `basicsr calibrate` starts from: half of the tiles of 4×4."""
    return HighFrequencyMask(ratio=0.5, sigma=0.6, noise_discount=1.0, smooth=3, tile=4, power=2.0, relative=0.25)


@dataclass(frozen=True)
class AMSRConfig:
    """How a network is accelerated.

    Args:
        selection: where it computes: the options of `HighFrequencyMask`. Default: what the calibration was fitted with,
            or half of the tiles of 8×8. `Calibration.selection` gives it for another share of the tiles.
        inside: 'masked': inside a unit, what lies outside the mask is 0. 'exact': it is computed where it is needed.
        unit: what is skipped as a whole: 'residual' units, or inside them each 'conv' by itself that has as many
            channels coming in as going out (the paper's formula; without training it ruins the picture).
        budget: share of the dense network's MACs that an image may cost, in place of a fixed ratio: as many tiles or
            windows are computed as it allows.
        dense_first: so many units, the first ones, stay dense.
        calibration: what `basicsr calibrate` found for the network (`Calibration.load`). Then the whole network behind
            its first convolution is computed at active tiles alone, and what they read around themselves is predicted;
            `inside`, `unit` and `dense_first` play no part.
        mode: 'sparse' skips, without gradients; 'dense_masked' computes everything and masks it, with gradients;
            both give the same. 'auto': dense_masked in training mode or while gradients are recorded; else sparse, or
            the plain network runs where measured costs say that this is faster for the image (docs/amsr.md).
            'dense': nothing is skipped; at inference on a CPU the native kernels run the whole network, of any class,
            to rounding, or in bf16 under torch.autocast. selection, budget, calibration and backend play no part.
        backend: what runs sparse execution: 'torch' operators, 'triton' kernels, or 'auto': Triton on NVIDIA GPUs where
            it is installed; with a calibration on a CPU the native kernels, where there are some; else torch.
        piece: at inference, images that are larger than so many LR pixels, on either side, are computed in pieces of
            that side, with the masks of the whole image; None for never. It bounds memory.
        overlap: so many LR pixels around itself a piece reads too. Where that is as far as the network sees, the image
            is that of the whole; averages over the image (channel attention) are over the piece.

    Raises:
        UserError: a value that is not possible, named.
    """

    selection: Selection = None  # type: ignore[assignment]  # __post_init__ chooses
    inside: Inside = 'masked'
    unit: Literal['residual', 'conv'] = 'residual'
    budget: float | None = None
    dense_first: int = 0
    calibration: Calibration | None = None
    mode: Literal['auto', 'sparse', 'dense_masked', 'dense'] = 'auto'
    backend: BackendName = 'auto'
    piece: int | None = None
    overlap: int = 32

    def __post_init__(self) -> None:
        default = self.calibration.selection() if self.calibration else default_selection()
        if self.selection is None:
            object.__setattr__(self, 'selection', default)
        check_inside(self.inside)
        check_backend(self.backend)
        for name, known in (('unit', UNITS), ('mode', MODES)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is '{getattr(self, name)}'. {suggestion(str(getattr(self, name)), known)}")
        if self.budget is not None:
            self._check_budget(self.budget, default)
        numbers = [('dense_first', 0, 'units'), ('overlap', 0, 'LR pixels')]
        if self.piece is not None:
            numbers.append(('piece', 1, 'LR pixels'))
        for name, least, what in numbers:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f'{name} is {value!r}: give a number of {what} from {least}.')
        if self.calibration is not None and (self.inside, self.unit, self.dense_first) != ('masked', 'residual', 0):
            raise UserError('calibration: inside, unit and dense_first are for networks without one: leave them out.')

    def _check_budget(self, budget: float, default: Selection) -> None:
        if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget <= 1:
            raise UserError(f'budget is {budget!r}: give a share of the dense MACs, over 0 and up to 1.')
        if self.inside != 'masked':
            raise UserError('budget: what inside: exact costs depends on where the mask is: give inside: masked, or a '
                            'ratio.')
        for rule in ('ratio', 'level'):
            if self.selection != default and getattr(self.selection, rule, None) is not None:
                raise UserError(f'budget is {budget!r}, but the selection has a {rule}, '
                                f'{getattr(self.selection, rule)!r}: give one of them.')
