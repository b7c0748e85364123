"""Counts the Python functions that a call runs."""
import gc
import sys
from collections.abc import Callable
from typing import Any


def python_calls(call: Callable[[], Any]) -> int:
    """How many Python functions run, the call's own among them; none that a collection of garbage calls."""
    number = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal number
        number += event == 'call'

    before = sys.getprofile()
    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
        gc.enable()
    return number
