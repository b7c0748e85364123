"""Selection of the K patches to refine from an error mask (MGA, section 3.3 and table 7)."""
from __future__ import annotations

import math

import torch

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.registry import SELECTION_REGISTRY

ORDERS = ('larger', 'random', 'smaller')


def check_k(k: int | float) -> int | float:
    """A number of patches (int ≥ 0), or a share of them (float in 0–1); UserError for anything else."""
    if isinstance(k, int) and not isinstance(k, bool) and k >= 0:
        return k
    if isinstance(k, float) and 0.0 <= k <= 1.0:
        return k
    raise UserError(f'k is {k!r}: give a number of patches (an integer from 0) or a share of them (0.0 to 1.0).')


def count_selected(k: int | float, total: int) -> int:
    """How many of `total` patches: never more than there are; a share is rounded up."""
    return min(math.ceil(k * total) if isinstance(k, float) else k, total)


@SELECTION_REGISTRY.register()
def topk(mask: torch.Tensor, k: int | float, order: str = 'larger') -> torch.Tensor:
    """The K elements of each image's error mask that are largest (or smallest, or random: table 7).

    Args:
        mask: (N, 1, h, w).
        k: a number of elements, or a share of h·w.
        order: 'larger', 'random' or 'smaller'.

    Returns:
        int64 (N, K), ascending flat positions into h·w.

    Raises:
        UserError: `k` or `order` makes no sense.
    """
    flat = mask.flatten(1)
    count = count_selected(check_k(k), flat.shape[1])
    if order not in ORDERS:
        raise UserError(f"network_g: order '{order}' is unknown. {suggestion(order, ORDERS)}")
    if order == 'random':
        flat = torch.rand_like(flat)
    return flat.topk(count, dim=1, largest=order != 'smaller', sorted=False).indices.sort(dim=1).values
