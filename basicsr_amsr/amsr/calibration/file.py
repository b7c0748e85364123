"""A calibration: predictions for the skipped pixels of one network, in a small file beside its weights."""
from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.torch_sparse.prediction import Affine, LightTail, Prediction
from basicsr_amsr.execution.torch_sparse.sparse_program import Program
from basicsr_amsr.files import save_whole
from basicsr_amsr.finite import not_finite
from basicsr_amsr.reasons import reason
from basicsr_amsr.resources import resolve
from basicsr_amsr.safe_load import read_weights_only
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.level import by_one_level

FORMAT = 5


@dataclass(frozen=True)
class Fit:
    """The selection and the images that a calibration was fitted with.

    Attributes:
        selection: where the network computed.
        levels: quantiles of the detail of the images' patches (`HighFrequencyMask.levels`), 0 to 1 in steps of 0.01.
        images: how many there were. pixels: how many they had together.
    """

    selection: HighFrequencyMask
    levels: Sequence[float]
    images: int
    pixels: int


@dataclass(frozen=True)
class Calibration:
    """Predictions for the skipped pixels of one network, as `calibrate` fitted them.

    Attributes:
        prediction: the fitted weights.
        network: name of the network's class.
        graph: fingerprint of what the network computes, see `Program`.
        fit: the selection and images that it was fitted with.

    Examples:
        >>> calibration = sr.Calibration.load('pretrained/RFDN_x4.amsr')
        >>> calibration.save('mine.amsr')
        >>> sr.Calibration.load('mine.amsr').network
        'RFDN'
    """

    prediction: Prediction
    network: str
    graph: str
    fit: Fit

    def __repr__(self) -> str:
        return (f'Calibration(network={self.network!r}, predictions={len(self.prediction.contexts)}, '
                f'images={self.fit.images})')

    def check(self, program: Program) -> None:
        """UserError unless the program is the one that was calibrated."""
        if program.fingerprint != self.graph:
            raise UserError(f'the calibration is of another network, a {self.network}: {program.graph.name} does not '
                            'compute what it was fitted to; run basicsr calibrate on it.')
        for value in program.contexts:
            _check_shape(self.prediction.contexts.get(value), program, value, 2)  # of the rectified anchor
        if self.prediction.tail is not None:
            _check_shape(self.prediction.tail.feature, program, program.output, 1)

    def selection(self, keep: float | None = None) -> HighFrequencyMask:
        """The selection that says where the network computes.

        Args:
            keep: None: the selection of the fit. Else a share of patches, 0 to 1: one threshold for all images, which
                this share of the patches exceeded in the images of the fit; a single image may have more or fewer.

        Raises:
            UserError: `keep` is no share, or the selection has an option that no threshold goes with.
        """
        if keep is None:
            return self.fit.selection
        if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 <= keep <= 1:
            raise UserError(f'keep is {keep!r}: give a share of the patches, from 0 to 1.')
        return by_one_level(self.fit.selection, self.fit.levels, keep)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; what was there before stays until it is complete.

        Raises:
            UserError: it cannot be written.
        """
        tail = self.prediction.tail
        content = {
            'format': FORMAT, 'network': self.network, 'graph': self.graph, 'settings': asdict(self.fit),
            'contexts': {value: _packed(affine) for value, affine in self.prediction.contexts.items()},
            'tail': None if tail is None else {'image': tail.image, 'feature': _packed(tail.feature)}}
        whole = io.BytesIO()
        torch.save(content, whole)
        save_whole(path, whole.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read a file that `save` wrote; those of the project, `pretrained/NAME.amsr`, are found from any folder.

        Raises:
            UserError: it is missing, damaged, or no calibration.
        """
        path = resolve(Path(path))
        data = read_weights_only(path, 'calibration')
        if not isinstance(data, dict) or data.get('format') != FORMAT or 'contexts' not in data:
            raise UserError(f'{path} is no calibration of this version: basicsr calibrate writes one.')
        try:
            broken = not_finite(dict(_tensors(data)))
            tail = data['tail']
            found = cls(Prediction({value: Affine(**each) for value, each in data['contexts'].items()},
                                   LightTail(tail['image'], Affine(**tail['feature'])) if tail else None),
                        data['network'], data['graph'], _fit(data['settings']))
        except Exception as error:  # whatever is not as `save` writes it
            raise UserError(f'{path} is no whole calibration ({reason(error)}): run basicsr calibrate '
                            'again.') from error
        if broken:
            raise UserError(f'{path}: {broken}: run basicsr calibrate again.')
        return found


def _fit(settings: Mapping[str, Any]) -> Fit:
    return Fit(**{**settings, 'selection': HighFrequencyMask(**settings['selection'])})


def _tensors(content: Any, place: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield place, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f'{place}.{key}'.lstrip('.'))


def _check_shape(affine: Affine | None, program: Program, value: int, times: int) -> None:
    """UserError unless a prediction has the shape that a value of the program needs.

    Args:
        affine: the prediction. value: what it predicts.
        times: features per channel of the anchor.
    """
    scale = program.scale(value)
    wanted = (program.channels(value) * scale**2, times * program.channels(program.anchor))
    if affine is None:
        raise UserError('the calibration lacks a prediction: run basicsr calibrate again.')
    read = affine.weight if affine.narrow is None else affine.narrow
    held = (affine.weight.shape[0], read.shape[-1])
    if held != wanted or affine.bias.shape != wanted[:1] or affine.scale != scale or (
            affine.narrow is not None and affine.narrow.shape[0] != affine.weight.shape[1]):
        raise UserError(f'the calibration holds a prediction of the wrong shape, {held[0]}x{held[1]} instead of '
                        f'{wanted[0]}x{wanted[1]}: run basicsr calibrate again.')


def _packed(affine: Affine) -> dict[str, Any]:
    return {'weight': affine.weight, 'bias': affine.bias, 'scale': affine.scale, 'narrow': affine.narrow}
