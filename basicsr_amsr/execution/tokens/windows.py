"""A layer of attention windows on the active ones of a batch of token maps; the tokens of the others pass by it."""
from __future__ import annotations

from collections.abc import Callable

import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.tokens.cells import Window

Layer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def places_of(x: torch.Tensor, windows: torch.Tensor, size: int, shift: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the tokens of active windows are; made once per batch, shared by all layers.

    Args:
        x: tokens (B, H, W, C), not shifted.
        windows: bool (B, rows, cols), windows of the shifted image (`HighFrequencyMask.windows` makes them).
        size: side of a window in tokens.
        shift: cyclic shift up and left, in tokens.

    Returns:
        For each active window the positions of its tokens in the flat batch, int64 (n, size²), and its row-major number
        in its image, (n,), which picks its attention mask.

    Raises:
        UserError: the windows are those of other maps.
    """
    batch, rows, cols = windows.shape
    if x.shape[:3] != (batch, rows * size, cols * size):
        raise UserError(f'x is {tuple(x.shape)}, but the windows are those of {batch} maps of '
                        f'{rows * size}x{cols * size}.')
    every = torch.arange(x[..., 0].numel(), device=x.device).view(*x.shape[:3], 1)
    active = windows.flatten().nonzero()[:, 0]
    return Window(size, size, shift, shift).part(every)[active, :, 0], active % (rows * cols)


@torch.no_grad()
def run_windows(layer: Layer, x: torch.Tensor, places: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """The tokens (B, H, W, C) with the active windows computed; x itself where none is active. For inference only.

    Args:
        layer: maps windows (n, size², C) and their `number` (n,) to windows of the same shape: attention and MLP with
            their residual connections, all that acts within a window.
        x: it is not changed.
        places, number: of `places_of`, for the layer's shift.
    """
    if not len(number):
        return x
    tokens = x.reshape(-1, x.shape[-1])
    chosen = tokens.index_select(0, places.flatten()).view(*places.shape, -1)
    out = x.clone(memory_format=torch.contiguous_format)
    computed = layer(chosen, number).reshape(-1, x.shape[-1]).to(out.dtype)
    out.view_as(tokens).index_copy_(0, places.flatten(), computed)
    return out
