"""Mends the import of BasicSR itself, whoever imports it: what today's libraries lack is lent to it just before, and
what is not asked for is not imported."""
from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from basicsr_amsr.compat.modules import (
    alias_functional_tensor,
    alias_ndimage_filters,
    lend_loose_version,
    quiet_meshgrid,
    return_loose_version,
)
from basicsr_amsr.compat.patching import ISSUES, OUTCOMES, Patch

MISSING = 'basicsr_amsr needs basicsr 1.4.2, which is not installed: see docs/install.md.'
FOR_IMPORT: tuple[Patch, ...] = (
    Patch(
        name='torchvision functional_tensor',
        reason='basicsr.data imports torchvision.transforms.functional_tensor, removed in torchvision 0.17',
        does='provides a module of that name with rgb_to_grayscale',
        mend=alias_functional_tensor,
        upstream=(f'{ISSUES}533', f'{ISSUES}663', f'{ISSUES}711')),
    Patch(
        name='scipy.ndimage.filters',
        reason='basicsr.metrics.niqe imports scipy.ndimage.filters, deprecated and gone with SciPy 2',
        does='provides a module of that name with the functions of scipy.ndimage',
        mend=alias_ndimage_filters),
    Patch(
        name='distutils LooseVersion',
        reason='basicsr.archs.arch_util imports distutils, which Python 3.12 and later lack without setuptools',
        does='lends it a LooseVersion while BasicSR is imported',
        mend=lend_loose_version),
    Patch(
        name='torch.meshgrid warning',
        reason='SwinIR and flow_warp call torch.meshgrid without indexing, and PyTorch warns',
        does='ignores that one warning',
        mend=quiet_meshgrid),
)


# Packages of BasicSR whose own code imports everything that is in them, and with it torchvision: seconds. They are run
# when a name is asked for that none of their modules is said to hold; what is in them can be imported before.
LAZY = ('basicsr', 'basicsr.archs', 'basicsr.utils')
ARCH_UTIL = 'basicsr.archs.arch_util'
MENDED = ('basicsr.data.degradations', 'basicsr.metrics.niqe')


@contextmanager
def mended() -> Iterator[None]:
    """While BasicSR is imported, `FOR_IMPORT` is in place."""
    for patch in FOR_IMPORT:
        OUTCOMES.setdefault(patch.name, patch.apply())
    try:
        yield
    finally:
        return_loose_version()


def load() -> None:
    """Import BasicSR, all of it, as `import basicsr` does without this package."""
    with mended():
        for name in LAZY:
            package = importlib.import_module(name)
            if '__getattr__' in vars(package):
                package.__getattr__('')


def run_when_asked(module: ModuleType, run: Callable[[], None], places: Mapping[str, str]) -> None:
    """Put the running of a package's code off.

    Args:
        module: the package. run: runs its code.
        places: modules by the names that the package's code takes from them: they are found without running it.
    """
    lock = threading.RLock()
    running: list[bool] = []

    def __getattr__(name: str) -> Any:
        if name.startswith('__') and name != '__all__' and name != '__version__':
            raise AttributeError(f'module {module.__name__!r} has no attribute {name!r}')
        if name in places:
            setattr(module, name, getattr(importlib.import_module(places[name]), name))
            return vars(module)[name]
        if name and importlib.util.find_spec(f'{module.__name__}.{name}') is not None:
            return importlib.import_module(f'{module.__name__}.{name}')
        with lock:
            if not running and '__getattr__' in vars(module):
                running.append(True)
                try:
                    run()
                finally:
                    running.clear()
                del module.__dict__['__getattr__']
        if name and name not in vars(module):
            raise AttributeError(f'module {module.__name__!r} has no attribute {name!r}')
        return vars(module).get(name)

    module.__dict__['__getattr__'] = __getattr__


def taken_from(package: str, source: str) -> dict[str, str]:
    """The modules of a package by the names that its `__init__` takes from them."""
    return {alias.asname or alias.name: f'{package}.{node.module}' for node in ast.parse(source).body
            if isinstance(node, ast.ImportFrom) and node.level == 1 for alias in node.names if alias.name != '*'}


class Finder(MetaPathFinder):
    """Finds BasicSR's packages as the other finders do, mends them, and has their code run when it is needed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in (*LAZY, *MENDED, ARCH_UTIL):
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, Finder))
        try:
            spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        except ModuleNotFoundError:
            spec = None
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(MISSING)
        loader: Any = spec.loader
        plain = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            def run() -> None:
                with mended():
                    plain(module)

            if name == ARCH_UTIL:
                with light():
                    plain(module)
            elif name in MENDED:
                run()
            else:
                run_when_asked(module, run, taken_from(name, loader.get_source(name)))

        loader.exec_module = exec_module
        return spec


@contextmanager
def light() -> Iterator[None]:
    """While `arch_util` is imported: it calls torchvision in one forward alone, so that it is imported there."""
    lend_loose_version()
    quiet_meshgrid()
    stand_in = ModuleType('torchvision', 'Imports torchvision when it is asked for something.')
    stand_in.__dict__['__getattr__'] = lambda name: getattr(importlib.import_module('torchvision'), name)
    sys.modules.setdefault('torchvision', stand_in)
    try:
        yield
    finally:
        return_loose_version()
        if sys.modules['torchvision'] is stand_in:
            del sys.modules['torchvision']


def install() -> None:
    """Have BasicSR mended from its next import on; where it is imported already, nothing happens."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
