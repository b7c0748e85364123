"""A function that torch.compile leaves alone, without importing the compiler before it is called."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar('Result')


def uncompiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """Does what `torch.compiler.disable` does, which takes two seconds to import where it decorates."""
    disabled: list[Callable[..., Result]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Result:
        if not disabled:
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*args, **kwargs)

    return call
