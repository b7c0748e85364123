"""How much a budget of MACs allows."""
from __future__ import annotations

import math
from collections.abc import Callable

from basicsr_amsr.errors import UserError


def largest_within(budget: float, dense: int, cost: Callable[[int], float], most: int,
                   without: str) -> int:
    """The largest number of patches or windows that costs at most `budget` times the dense network.

    Args:
        dense: MACs of the dense network.
        cost: MACs with so many; more cost no less.
        most: how many there are.
        without: the message's end, where even none costs more: without what, and what to do.

    Raises:
        UserError: even none costs more.
    """
    allowed = budget * dense
    if cost(0) > allowed:
        least = math.ceil(1e4 * cost(0) / dense) / 1e4  # rounded up, so that it is enough
        raise UserError(f'budget {budget:g} of the dense MACs is less than the {least:.10g} that the network takes '
                        f'{without}')
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= allowed else (low, middle - 1)
    return low
