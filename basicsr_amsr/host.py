"""Host and device: lists are made on the host, so that a pass on a GPU waits once, for the mask."""
from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch


def runs_ahead(device: torch.device) -> bool:
    """Whether the host goes on while a device computes, so that to read a result is to wait."""
    return device.type != 'cpu'


def on_host(mask: torch.Tensor) -> np.ndarray:
    """The values of a mask; on a GPU this waits for it."""
    values: np.ndarray = mask.cpu().numpy()
    return values


def on_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Values of the host as a tensor on a device, for which nobody waits."""
    tensor = torch.from_numpy(values)
    return tensor if device.type == 'cpu' else tensor.pin_memory().to(device, non_blocking=True)


@lru_cache(512)
def constant(values: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A few integers on a device, copied once; not to be changed."""
    return torch.tensor(values, dtype=dtype, device=device)


def positions(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Where a flat mask holds, ascending, int64 (count,): as `nonzero`, which waits to learn the count.

    Args:
        mask: bool (n,).
        count: how many of it are True.
    """
    if not runs_ahead(mask.device):
        return mask.nonzero()[:, 0]
    place = torch.where(mask, mask.cumsum(0) - 1, count)
    found = torch.empty(count + 1, dtype=torch.int64, device=mask.device)  # the last one is where others are written
    return found.scatter_(0, place, torch.arange(len(mask), device=mask.device))[:count]
