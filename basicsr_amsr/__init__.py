"""basicsr_amsr: super-resolution that computes only where the image is hard.

Importing the package loads only this file and what mends the import of BasicSR; each name below is loaded when it is
first used. To run BasicSR's trainings and tests with this package's networks, models and data sets, import
`basicsr_amsr.register`, as the `basicsr` command does.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from basicsr_amsr.compat.importing import install as _mend_import_of_basicsr
from basicsr_amsr.version import __version__

if TYPE_CHECKING:
    from basicsr_amsr.amsr.accelerate import accelerate_, restore_
    from basicsr_amsr.amsr.calibration.choose import calibrate
    from basicsr_amsr.amsr.calibration.file import Calibration
    from basicsr_amsr.amsr.config import AMSRConfig
    from basicsr_amsr.backbones.spec import register_backbone
    from basicsr_amsr.errors import UserError
    from basicsr_amsr.infer.upscaler import Upscaler
    from basicsr_amsr.weights.pretrained import load_pretrained

__all__ = ['AMSRConfig', 'Calibration', 'Upscaler', 'UserError', '__version__', 'accelerate_', 'calibrate',
           'load_pretrained', 'register_backbone', 'restore_']

_PLACES = {
    'AMSRConfig': 'amsr.config',
    'Calibration': 'amsr.calibration.file',
    'Upscaler': 'infer.upscaler',
    'UserError': 'errors',
    'accelerate_': 'amsr.accelerate',
    'calibrate': 'amsr.calibration.choose',
    'load_pretrained': 'weights.pretrained',
    'register_backbone': 'backbones.spec',
    'restore_': 'amsr.accelerate',
}

_mend_import_of_basicsr()


def __getattr__(name: str) -> object:
    """A public name, imported when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(f'{__name__}.{_PLACES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return list(__all__)
