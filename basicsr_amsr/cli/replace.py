"""Replaces attributes for a while."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(target: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Set attributes of a module or an object, and put the old values back at the end."""
    old = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in old.items():
            setattr(target, name, value)
