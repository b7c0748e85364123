"""Mends the import of BasicSR itself, whoever imports it: what moved in today's libraries is found there, and what is
not asked for is not imported."""
from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from basicsr_amsr.compat.imports import rewritten
from basicsr_amsr.compat.patching import APPLIED, ISSUES, NOT_NEEDED, OUTCOMES, Patch, apply_waiting

MISSING = 'basicsr_amsr needs basicsr 1.4.2, which is not installed: see docs/install.md.'


def rewrite_imports() -> str:
    """The outcome of what `Finder` does whenever a module of BasicSR is imported; nothing is left to do here."""
    return NOT_NEEDED if 'basicsr' in sys.modules else APPLIED


def quiet_meshgrid() -> str:
    """Ignore PyTorch's hint about `torch.meshgrid` without `indexing`, as BasicSR calls it."""
    warnings.filterwarnings('ignore', message=r'torch\.meshgrid: in an upcoming release', category=UserWarning)
    return APPLIED


FOR_IMPORT: tuple[Patch, ...] = (
    Patch(
        name='torchvision functional_tensor',
        reason='basicsr.data imports torchvision.transforms.functional_tensor, removed in torchvision 0.17',
        does='takes rgb_to_grayscale from torchvision.transforms.functional',
        mend=rewrite_imports,
        upstream=(f'{ISSUES}533', f'{ISSUES}663', f'{ISSUES}711')),
    Patch(
        name='scipy.ndimage.filters',
        reason='basicsr.metrics.niqe imports scipy.ndimage.filters, deprecated and gone with SciPy 2',
        does='takes its functions from scipy.ndimage',
        mend=rewrite_imports),
    Patch(
        name='distutils LooseVersion',
        reason='basicsr.archs.arch_util imports distutils, which Python 3.12 and later lack without setuptools',
        does='takes Version of packaging',
        mend=rewrite_imports),
    Patch(
        name='torch.meshgrid warning',
        reason='SwinIR and flow_warp call torch.meshgrid without indexing, and PyTorch warns',
        does='ignores that one warning',
        mend=quiet_meshgrid),
)


# Packages of BasicSR whose own code imports everything that is in them: seconds. They are run when a name is asked for
# that none of their modules is said to hold; what is in them can be imported before.
LAZY = ('basicsr', 'basicsr.archs', 'basicsr.utils')
_run: dict[str, Callable[[], None]] = {}  # the code of those that were imported and did not run yet


def mend_imports() -> None:
    """Apply `FOR_IMPORT`."""
    for patch in FOR_IMPORT:
        if patch.name not in OUTCOMES:
            OUTCOMES[patch.name] = patch.apply()


def load() -> None:
    """Import BasicSR, all of it, as `import basicsr` does without this package."""
    mend_imports()
    for name in LAZY:
        importlib.import_module(name)
        if name in _run:
            _run[name]()


def run_when_asked(module: ModuleType, run: Callable[[], None], places: Mapping[str, str]) -> None:
    """Put the running of a package's code off.

    Args:
        module: the package. run: runs its code.
        places: modules by the names that the package's code takes from them: they are found without running it.
    """
    lock = threading.RLock()
    running: list[bool] = []

    def run_once() -> None:
        with lock:
            if not running and '__getattr__' in vars(module):
                running.append(True)
                try:
                    run()
                finally:
                    running.clear()
                del module.__dict__['__getattr__']

    def __getattr__(name: str) -> Any:
        if not name.startswith('__') or name in ('__all__', '__version__'):
            if name in places:
                setattr(module, name, getattr(importlib.import_module(places[name]), name))
                return vars(module)[name]
            if importlib.util.find_spec(f'{module.__name__}.{name}') is not None:
                return importlib.import_module(f'{module.__name__}.{name}')
            run_once()
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f'module {module.__name__!r} has no attribute {name!r}')

    module.__dict__['__getattr__'] = __getattr__
    _run[module.__name__] = run_once


def taken_from(package: str, source: str) -> dict[str, str]:
    """The modules of a package by the names that its `__init__` takes from them."""
    return {alias.asname or alias.name: f'{package}.{node.module}' for node in ast.parse(source).body
            if isinstance(node, ast.ImportFrom) and node.level == 1 for alias in node.names if alias.name != '*'}


class Finder(MetaPathFinder):
    """Finds BasicSR's modules as the other finders do, mends what they import, and has the code of its packages run
    when it is needed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if name.split('.')[0] != 'basicsr':
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, Finder))
        try:
            spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        except ModuleNotFoundError:
            spec = None
        if name == 'basicsr':
            if spec is None or spec.loader is None:
                raise ModuleNotFoundError(MISSING)
            mend_imports()
        if spec is None or spec.loader is None or not hasattr(spec.loader, 'get_source'):
            return spec
        loader: Any = spec.loader
        plain, source, origin = loader.exec_module, loader.get_source(name) or '', str(spec.origin)

        def run(module: ModuleType) -> None:
            code = rewritten(source, origin)
            if code is None:
                plain(module)
            else:
                exec(code, module.__dict__)
            apply_waiting(name)

        def exec_module(module: ModuleType) -> None:
            if name in LAZY:
                run_when_asked(module, lambda: run(module), taken_from(name, source))
            else:
                run(module)

        loader.exec_module = exec_module
        return spec


def install() -> None:
    """Have BasicSR mended from its next import on; where it is imported already, nothing happens."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
