"""Selects a fixed share of the patches, pixels or windows of each image, whatever their values."""
from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch

S = TypeVar('S')


def at_keep(selection: S, keep: float | None) -> S:
    """A copy of a selection (a dataclass) that goes by `keep`, not by `level`."""
    level = {'level': None} if getattr(selection, 'level', None) is not None else {}
    return dataclasses.replace(selection, keep=keep, **level)  # type: ignore[type-var]


def top_keep(score: torch.Tensor, keep: float) -> torch.Tensor:
    """The round(keep · n) units of each image with the largest scores; halves are rounded up.

    Args:
        score: (B, …), n units per image.
        keep: 0 to 1.

    Returns:
        bool, of the shape of `score`; of equal scores the first in row-major order are taken.
    """
    flat = score.flatten(1)
    length = flat.shape[1]
    count = int(keep * length + 0.5)
    if count == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    # Selecting the smallest chosen score is much cheaper than sorting, and unlike topk leaves no choice among ties.
    smallest = flat.kthvalue(length - count + 1, dim=1, keepdim=True).values
    over, tied = flat > smallest, flat == smallest
    rank = tied.cumsum(1)
    return (over | tied & (rank <= count - over.sum(1, keepdim=True))).view_as(score)
