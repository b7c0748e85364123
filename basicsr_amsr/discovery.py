"""Finds glue modules by their suffix, as BasicSR does."""
from __future__ import annotations

import importlib
import pkgutil


def import_by_suffix(package: str, path: list[str], suffix: str) -> list[str]:
    """Import every module of `package` whose name ends with `suffix`; returns their full names, sorted."""
    names = sorted(m.name for m in pkgutil.iter_modules(path) if m.name.endswith(suffix))
    return [importlib.import_module(f'{package}.{name}').__name__ for name in names]
