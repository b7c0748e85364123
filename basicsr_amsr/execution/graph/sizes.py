"""Integers that follow from an image's batch, height and width."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

NAMES = ('b', 'h', 'w')
FUNCTIONS = {'torch': torch, 'math': math, 'min': min, 'max': max, 'float': float, 'int': int, 'round': round,
             'abs': abs}


class OfValues(Exception):
    """A number that follows from what the image holds, not from its size."""


@dataclass(frozen=True)
class Size:
    """A number that follows from the image's size.

    Attributes:
        source: a Python expression of b, h and w.
    """

    source: str


Dim = int | Size


def at(dim: Any, size: tuple[int, int, int]) -> Any:
    """The number for images of a size (b, h, w); a number that does not depend on the size is returned as it is."""
    return _compiled(dim.source)(*size) if isinstance(dim, Size) else dim


@cache
def _compiled(source: str) -> Callable[[int, int, int], Any]:
    return eval(f'lambda {", ".join(NAMES)}: {source}', dict(FUNCTIONS))  # printed by sympy, never text of a user
