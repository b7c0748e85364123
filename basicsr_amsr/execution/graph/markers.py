"""Marks in a trace where a unit begins that a mask skips as a whole, and where it ends."""
from __future__ import annotations

from collections.abc import Callable

import torch

LIBRARY = torch.library.Library('basicsr_amsr', 'FRAGMENT')
LIBRARY.define('enter_unit(Tensor x) -> Tensor')
LIBRARY.define('keep_skipped(Tensor x, Tensor y) -> Tensor')
LIBRARY.impl('enter_unit', lambda x: x.clone(), 'CompositeExplicitAutograd')
LIBRARY.impl('keep_skipped', lambda x, y: y.clone(), 'CompositeExplicitAutograd')


def marked(unit: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """unit(x), which a graph then has between `Enter` and `Keep`."""
    ops = torch.ops.basicsr_amsr
    return ops.keep_skipped(x, unit(ops.enter_unit(x)))
