"""What BasicSR 1.4.2 needs on today's PyTorch, torchvision, SciPy and Python, applied when basicsr_amsr is imported.

Nothing in site-packages is touched. What another package has already replaced is left to it.
"""
from __future__ import annotations

import importlib

from basicsr_amsr.compat.patching import Patch
from basicsr_amsr.compat.table import PATCHES

__all__ = ['PATCHES', 'Patch', 'apply', 'outcomes']

_outcomes: dict[str, str] = {}


def apply() -> None:
    """Apply every patch of `PATCHES`; applying twice changes nothing.

    Raises:
        ImportError: BasicSR is not installed.
    """
    try:
        for patch in PATCHES:
            if patch.before_import:
                _outcomes.setdefault(patch.name, patch.apply())
        importlib.import_module('basicsr')
    except ModuleNotFoundError as error:
        if error.name != 'basicsr':
            raise
        raise ImportError('basicsr_amsr needs basicsr 1.4.2, which is not installed: see docs/install.md.') from None
    for patch in PATCHES:
        if not patch.before_import:
            _outcomes[patch.name] = patch.apply()


def outcomes() -> dict[str, str]:
    """What became of each patch in this process: 'applied', 'not needed here', or 'left to <package>'."""
    return dict(_outcomes)
