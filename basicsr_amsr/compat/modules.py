"""Modules that BasicSR imports and today's libraries no longer have."""
from __future__ import annotations

import importlib
import re
import sys
import types
import warnings
from functools import total_ordering

from basicsr_amsr.compat.patching import APPLIED, NOT_NEEDED


def alias_functional_tensor() -> str:
    """`torchvision.transforms.functional_tensor`: `rgb_to_grayscale` from where torchvision has it now."""
    name = 'torchvision.transforms.functional_tensor'
    try:
        importlib.import_module(name)
        return NOT_NEEDED
    except ModuleNotFoundError:
        module = types.ModuleType(name, 'Alias made by basicsr_amsr: torchvision removed this module.')
        module.__dict__['rgb_to_grayscale'] = importlib.import_module(
            'torchvision.transforms.functional').rgb_to_grayscale
        sys.modules[name] = module
        return APPLIED


def alias_ndimage_filters() -> str:
    """`scipy.ndimage.filters`: the functions of `scipy.ndimage`, whether SciPy deprecates the module or lacks it."""
    ndimage = importlib.import_module('scipy.ndimage')
    name = 'scipy.ndimage.filters'
    module = types.ModuleType(name, 'Alias made by basicsr_amsr: SciPy moves these functions to scipy.ndimage.')
    module.__dict__.update({key: getattr(ndimage, key) for key in ndimage.__all__})
    sys.modules[name] = module
    ndimage.__dict__['filters'] = module
    return APPLIED


@total_ordering
class LooseVersion:
    """Compares version strings number by number; enough for `LooseVersion(torchvision.__version__) >= ...`."""

    def __init__(self, vstring: str):
        self.vstring = vstring
        self.version = [int(part) if part.isdigit() else part for part in re.findall(r'\d+|[a-z]+', vstring)]

    def _key(self) -> list[tuple[bool, int | str]]:
        return [(isinstance(part, str), part) for part in self.version]

    def _other(self, other: object) -> LooseVersion | None:
        if isinstance(other, str):
            return LooseVersion(other)
        return other if isinstance(other, LooseVersion) else None

    def __eq__(self, other: object) -> bool:
        right = self._other(other)
        return NotImplemented if right is None else self._key() == right._key()

    def __lt__(self, other: object) -> bool:
        right = self._other(other)
        return NotImplemented if right is None else self._key() < right._key()

    def __hash__(self) -> int:
        return hash(tuple(self.version))

    def __repr__(self) -> str:
        return f"LooseVersion('{self.vstring}')"


def lend_loose_version() -> str:
    """`distutils.version.LooseVersion`, where Python has none; `return_loose_version` takes it away again."""
    if 'basicsr.archs.arch_util' in sys.modules:
        return NOT_NEEDED
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Python 3.10 and 3.11 announce the removal at every import
            importlib.import_module('distutils.version')
        return NOT_NEEDED
    except ModuleNotFoundError:
        package, version = types.ModuleType('distutils'), types.ModuleType('distutils.version')
        package.__path__ = []
        version.__dict__['LooseVersion'] = LooseVersion
        sys.modules.update({'distutils': package, 'distutils.version': version})
        return APPLIED


def return_loose_version() -> None:
    """Take the stand-in out of `sys.modules`, so that nobody takes it for the real package."""
    if getattr(sys.modules.get('distutils.version'), 'LooseVersion', None) is LooseVersion:
        for name in ('distutils', 'distutils.version'):
            sys.modules.pop(name, None)


def quiet_meshgrid() -> str:
    """Ignore PyTorch's hint about `torch.meshgrid` without `indexing`, as BasicSR calls it."""
    warnings.filterwarnings('ignore', message=r'torch\.meshgrid: in an upcoming release', category=UserWarning)
    return APPLIED
