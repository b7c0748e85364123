"""How a patch is described, and how names are replaced without undoing what another package has replaced."""
from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

APPLIED = 'applied'
NOT_NEEDED = 'not needed here'
AT_IMPORT = 'applied when it is imported'
ISSUES = 'https://github.com/XPixelGroup/BasicSR/issues/'
PACKAGE = __name__.split('.')[0]


@dataclass(frozen=True)
class Patch:
    """One mend of BasicSR 1.4.2.

    Attributes:
        name: short and unique.
        reason: what goes wrong without it.
        does: what it changes.
        replaces: the function or method of BasicSR that is replaced, such as 'basicsr.data.build_dataset'.
        by: that of this package which replaces it, such as 'data.items.build_dataset'.
        mend: what is done where nothing of BasicSR is replaced; returns the outcome.
        upstream: addresses of the BasicSR issues and pull requests it answers; empty where none was found.
    """

    name: str
    reason: str
    does: str
    replaces: str = ''
    by: str = ''
    mend: Callable[[], str] | None = None
    upstream: tuple[str, ...] = ()

    def apply(self) -> str:
        """Apply it where it stands; `replace_in_importers` does the rest. Twice changes nothing.

        Returns:
            The outcome: `APPLIED`, `NOT_NEEDED`, `AT_IMPORT` where the module is one that BasicSR itself does not
            import, or 'left to <package>'.
        """
        if self.mend is not None:
            return self.mend()
        place, _, name = self.replaces.rpartition('.')
        package, _, last = place.rpartition('.')
        if place not in sys.modules and not hasattr(sys.modules[package], last):
            WAITING[place] = self
            return AT_IMPORT
        new = pkgutil.resolve_name(f'{PACKAGE}.{self.by}')
        owner = pkgutil.resolve_name(place)
        return (replace_method if isinstance(owner, type) else replace_function)(owner, name, new)


OUTCOMES: dict[str, str] = {}  # what became of each patch in this process, by its name
WAITING: dict[str, Patch] = {}  # patches of modules that are not imported, by the module's name
_replaced: dict[int, tuple[FunctionType, FunctionType]] = {}  # functions and what took their place, by id


def apply_waiting(module: str) -> None:
    """The patch that waited for a module to be imported, if one did."""
    patch = WAITING.pop(module, None)
    if patch is not None:
        OUTCOMES[patch.name] = patch.apply()


def _owner(function: Any) -> str:
    """The module that wrote the function; `functools.wraps` copies `__module__` but not the globals."""
    owner = getattr(function, '__globals__', {}).get('__name__', '') or getattr(function, '__module__', '')
    if owner.startswith('torch.') and hasattr(function, '__wrapped__'):  # decorated, as by torch.no_grad
        return _owner(function.__wrapped__)
    return owner


def _taken(current: Any, new: FunctionType) -> str | None:
    """The outcome where a function stays, because it is ours already or another package's; else None."""
    owner = _owner(current)
    if current is new:
        return APPLIED
    return None if owner.split('.')[0] == 'basicsr' else f'left to {owner}'


def replace_function(module: ModuleType, name: str, new: FunctionType) -> str:
    """Replace `module.name`; `replace_in_importers` follows."""
    old = getattr(module, name)
    taken = _taken(old, new)
    if taken:
        return taken
    setattr(module, name, new)
    _replaced[id(old)] = (old, new)
    return APPLIED


def replace_in_importers() -> None:
    """Put what replaced a function into every loaded module that imported it, under whatever name, in one walk.

    Names of this package that begin with an underscore stay: replacements call what they replace.
    """
    for loaded_name, loaded in list(sys.modules.items()):
        ours = loaded_name.split('.')[0] == PACKAGE
        for key, value in list(getattr(loaded, '__dict__', {}).items()):
            old, new = _replaced.get(id(value), (None, None))
            if old is not None and old is value and not (ours and key.startswith('_')):
                setattr(loaded, key, new)
    _replaced.clear()


def replace_method(cls: type, name: str, new: FunctionType) -> str:
    """Replace `cls.name`; subclasses that override it keep their own."""
    taken = _taken(getattr(cls, name), new)
    if taken:
        return taken
    setattr(cls, name, new)
    return APPLIED
