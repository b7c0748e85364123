"""A window transformer whose tokens are computed where the masks of its images are."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.trained import placed
from basicsr_amsr.backbones.tokens import TokenFamily, token_family
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.dense.form import precision_of
from basicsr_amsr.execution.native.selection import patches
from basicsr_amsr.execution.precision import in_full_precision
from basicsr_amsr.execution.tokens.cells import Cells
from basicsr_amsr.execution.tokens.packed import BiasTables, Packed, native_for
from basicsr_amsr.execution.tokens.whole_maps import Reference
from basicsr_amsr.execution.torch_sparse.prediction import Prediction
from basicsr_amsr.padding import cropped
from basicsr_amsr.selection.neighbourhoods import expand_patches

LAYERS = (nn.Linear, nn.Conv2d)
TRIED = (1, 32, 32)  # images that tell what a network reads of skipped tokens


def cells_of(family: TokenFamily, patches: torch.Tensor, size: int, x: torch.Tensor, padded: torch.Tensor) -> Cells:
    """The cells of active patches, bool (B, rows, cols), of images x.

    A cell in the padding around the images is active where the nearest one inside is.

    Raises:
        UserError: the patches are not whole cells.
    """
    if size % family.cell:
        raise UserError(f'selection: patch_size is {size}: this network skips squares of {family.cell} tokens, give a '
                        'multiple.')
    mask = expand_patches(patches, size, *x.shape[-2:])[:, 0, ::family.cell, ::family.cell]
    rows, cols = (-(-side // family.cell) for side in padded.shape[-2:])
    places = [torch.arange(count, device=mask.device).clamp(max=have - 1)
              for count, have in zip((rows, cols), mask.shape[1:], strict=True)]
    return Cells(mask[:, places[0][:, None], places[1]], family.cell, *padded.shape[-2:])


class Survey(Reference):
    """Notes what a network reads of skipped tokens."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__(x)
        self.reads: list[tuple[Any, ...]] = []

    def start(self, anchor: torch.Tensor) -> None:
        super().start(anchor)
        self.reads.append(('anchor', anchor.shape[1]))

    def _recorded(self, kind: str, number: int, value: torch.Tensor, heads: int = 0) -> torch.Tensor:
        self.reads.append((kind, number, value.shape[2], heads))
        return value


def fingerprint(family: TokenFamily, net: nn.Module) -> str:
    """A hash of what a network reads of skipped tokens, without weights."""
    weight = next(net.parameters())
    x = weight.new_zeros(TRIED[0], 3, *TRIED[1:])
    padded, training = family.pad(net, x), net.training
    survey = Survey(padded)
    with torch.no_grad():
        net.eval()
        family.forward(net, padded, survey)
        net.train(training)
    return hashlib.sha256(repr((type(net).__name__, survey.reads)).encode()).hexdigest()[:16]


def check_range(tensor: torch.Tensor) -> None:
    """UserError for float16, in which sums over an image's tokens are infinite."""
    if tensor.dtype == torch.float16:
        raise UserError('a calibrated window transformer sums over all tokens of an image, which float16 cannot hold: '
                        'give it float32 or bfloat16 weights, or autocast.')


class TokenDense:
    """A whole network, every token active: the same picture to rounding, faster than the network itself."""

    def __init__(self, biases: BiasTables | None = None) -> None:
        self.biases = biases or BiasTables()

    def trial(self, net: nn.Module) -> list[str]:
        """Names of the weights of the layers that run packed."""
        return [f'{path}.weight' for path, module in net.named_modules() if isinstance(module, LAYERS)]

    def image(self, net: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        """The images, or None where the network itself has to run."""
        family, bf16 = token_family(net), precision_of(x) == 'bfloat16'
        with torch.no_grad(), in_full_precision(x.device):
            if family is None or not native_for(x):
                return None
            padded = family.pad(net, x)
            cells = self.biases.whole(len(x), padded.shape[2], padded.shape[3], family.cell)
            return cropped(family.forward(net, padded, Packed(padded, None, cells, self.biases, bf16)), x, padded)


@dataclass(frozen=True)
class CalibratedTokens:
    """A calibrated window transformer's executor: all behind its first layers, at active tokens.

    It holds no modules, so networks can be copied.

    Attributes:
        prediction: for skipped tokens. skipped_weights: of layers that run at active tokens alone.
        dense: the whole network.
    """

    prediction: Prediction
    skipped_weights: tuple[str, ...]
    dense: TokenDense = field(compare=False)
    biases: BiasTables = field(compare=False)
    _placed: dict[Any, Prediction] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, family: TokenFamily, net: nn.Module, calibration: Calibration) -> CalibratedTokens:
        """The executor of a plain network with this calibration.

        Raises:
            UserError: the network is not the one that was calibrated, or float16.
        """
        check_range(next(net.parameters()))
        if fingerprint(family, net) != calibration.graph:
            raise UserError(f'the calibration is of another network, a {calibration.network}: {type(net).__name__} '
                            'does not compute what it was fitted to; run basicsr calibrate on it.')
        biases, everywhere = BiasTables(), family.everywhere(net)
        weights = [name for name in TokenDense().trial(net) if not name.startswith(everywhere)]
        return cls(calibration.prediction, tuple(weights), TokenDense(biases), biases)

    def run(self, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, config: Any, masked: bool) -> torch.Tensor:
        """The image, see `CalibratedNetwork.run`."""
        family = token_family(net)
        assert family is not None
        check_range(x)
        padded = family.pad(net, x)
        cells = cells_of(family, patches, config.selection.patch_size, x, padded)
        bf16 = precision_of(x) == 'bfloat16'
        with in_full_precision(x.device):
            prediction = placed(net, self.prediction, x, self._placed)
            given = padded, prediction, cells
            form: Any = Reference(*given) if masked else Packed(*given, self.biases, bf16)
            return cropped(family.forward(net, padded, form), x, padded)

    def patches(self, net: nn.Module, x: torch.Tensor, config: Any) -> torch.Tensor:
        """Active patches of LR images, bool (B, rows, cols)."""
        if config.budget is not None:
            raise UserError('budget: what a window transformer costs depends on where the mask is: give a share of the '
                            'patches.')
        return patches(config.selection, x)
