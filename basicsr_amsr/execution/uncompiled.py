"""A function that torch.compile leaves alone, without importing the compiler."""
from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar('Result')


def uncompiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """Does what `torch.compiler.disable` does, whose import takes two seconds: where nobody imported the compiler it
    is not needed."""
    disabled: list[Callable[..., Result]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Result:
        if 'torch._dynamo' not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*args, **kwargs)

    return call
