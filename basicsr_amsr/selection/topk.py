"""Selection of the patches to refine from an error mask (MGA, section 3.3 and table 7)."""
from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.registry import SELECTION_REGISTRY

ORDERS = ('larger', 'random', 'smaller')
SCOPES = ('image', 'batch')
Amount = int | float | Mapping[str, float]
RULES = ('threshold', 'budget')


def check_k(k: object) -> Amount:
    """How many patches: a number (int ≥ 0), a share of them (float in 0–1), `{threshold: e}` or `{budget: share}`.

    Raises:
        UserError: anything else.
    """
    if isinstance(k, Mapping):
        return check_rule(k)
    if isinstance(k, int) and not isinstance(k, bool) and k >= 0:
        return k
    if isinstance(k, float) and 0.0 <= k <= 1.0:
        return k
    raise UserError(f'network_g: k is {k!r}: give a number of patches (an integer from 0), a share of them (0.0 to '
                    '1.0), {threshold: error} or {budget: share of the MACs of D}.')


def check_rule(rule: Mapping[str, object]) -> dict[str, float]:
    """`{threshold: e}` with e ≥ 0, or `{budget: share}` with a share above 0; a UserError for anything else."""
    name, value = next(iter(rule.items()), ('', None))
    if len(rule) != 1 or name not in RULES:
        unknown = next((str(key) for key in rule if key not in RULES), '')
        hint = suggestion(unknown, RULES) if unknown else 'Give either threshold or budget.'
        raise UserError(f'network_g: k is {dict(rule)!r}. {hint}')
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UserError(f'network_g: k: {name} is {value!r}: give a number from 0.')
    return {name: float(value)}


def count_selected(k: int | float, total: int) -> int:
    """How many of `total` patches: never more than there are; a share is rounded up."""
    return min(math.ceil(k * total) if isinstance(k, float) else k, total)


@SELECTION_REGISTRY.register()
def topk(mask: torch.Tensor, k: Amount, order: str = 'larger', per: str = 'image',
         seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The K elements of an error mask that are largest (or smallest, or random: table 7).

    `k` says how many, `order` which: `{threshold: e}` takes as many of each image as exceed e, in any order.

    Args:
        mask: (N, 1, h, w).
        k: a number per image, a share of h·w, or `{threshold: e}`.
        order: 'larger', 'random' or 'smaller'.
        per: 'image' takes K of each image, 'batch' the N·K of all images together.
        seed: of the random order. It is the same for every call and, per image, for every image of a batch.

    Returns:
        Image and flat position in h·w of each chosen element, two int64 tensors, ascending. Their length is fixed by
        the mask's shape, but for a threshold.

    Raises:
        UserError: an argument makes no sense.
    """
    for name, value, known in (('order', order, ORDERS), ('per', per, SCOPES)):
        if value not in known:
            raise UserError(f"network_g: {name} '{value}' is unknown. {suggestion(value, known)}")
    images, total = mask.shape[0], mask[0].numel()
    scores = ranking(mask, order, per, seed)
    amount = check_k(k)
    if isinstance(amount, Mapping):
        counts = (mask.flatten(1) > amount['threshold']).sum(1, keepdim=True)
        ranked = scores.argsort(dim=1, descending=True, stable=True)
        within = torch.arange(total, device=mask.device) < counts
        image, position = torch.zeros_like(within).scatter(1, ranked, within).nonzero(as_tuple=True)
        return image, position
    count = count_selected(amount, total)
    if per == 'batch':
        flat = scores.flatten().topk(count * images, sorted=False).indices.sort().values
        return flat // total, flat % total
    chosen = scores.topk(count, dim=1, sorted=False).indices.sort(dim=1).values
    return torch.arange(images, device=mask.device).repeat_interleave(count), chosen.flatten()


def ranking(mask: torch.Tensor, order: str, per: str, seed: int) -> torch.Tensor:
    """(N, h·w), the larger the sooner an element is chosen."""
    flat = mask.flatten(1)
    if order == 'random':
        # Drawn on the CPU, so that every device chooses the same.
        generator = torch.Generator().manual_seed(seed)
        shape = (1, flat.shape[1]) if per == 'image' else tuple(flat.shape)
        return torch.rand(shape, generator=generator, device='cpu').to(mask.device).expand_as(flat)
    return -flat if order == 'smaller' else flat
