"""Attention windows: gather the active ones, run a callable on them, write them back."""
from __future__ import annotations

from collections.abc import Callable

import torch

from basicsr_amsr.errors import UserError


class ActiveWindows:
    """The active windows of a batch of token maps, for one cyclic shift; made once per batch, shared by all layers.

    Args:
        windows: bool (B, rows, cols), windows of the shifted image (`HighFrequencyMask.windows` makes them).
        size: side of a window in tokens.
        shift: cyclic shift up and left, in tokens.

    Attributes:
        count, total: active windows of the batch, and all.
        number: int64 (count,), each active window's row-major number in its image: picks its attention mask.
    """

    def __init__(self, windows: torch.Tensor, size: int, shift: int = 0) -> None:
        batch, rows, cols = windows.shape
        self.size, self.shift = size, shift
        self.map_shape = (batch, rows * size, cols * size)
        image, row, col = windows.nonzero().unbind(1)
        self.count, self.total = len(image), windows.numel()
        self.number = row * cols + col
        step = torch.arange(size, device=windows.device)
        # A shifted window wraps around, so no map has to be rolled.
        y = ((row * size)[:, None] + step + shift) % (rows * size)
        x = ((col * size)[:, None] + step + shift) % (cols * size)
        self.tokens = (((image * rows * size)[:, None] + y)[:, :, None] * (cols * size) + x[:, None, :]).flatten()


@torch.no_grad()
def run_windows(layer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: torch.Tensor,
                active: ActiveWindows, out: torch.Tensor | None = None) -> torch.Tensor:
    """A layer on the active windows; the tokens of the others pass by it. For inference only.

    Args:
        layer: maps windows (n, size², C) and their `number` (n,) to windows of the same shape: attention and MLP with
            their residual connections, all that acts within a window.
        x: (B, H, W, C) tokens, not shifted; it is not changed.
        active: the windows, for the layer's shift.
        out: (B, H, W, C), contiguous, to write into: what its other tokens hold is what skipped tokens get. Not x.

    Returns:
        `out`, else a copy of x with the active windows computed (x itself where none is active).
    """
    if x.shape[:3] != active.map_shape:
        raise UserError(f'x is {tuple(x.shape)}, but the windows are those of {active.map_shape[0]} maps of '
                        f'{active.map_shape[1]}x{active.map_shape[2]}.')
    if not active.count:
        return x if out is None else out
    tokens = x.reshape(-1, x.shape[-1])
    chosen = tokens.index_select(0, active.tokens).view(active.count, active.size**2, -1)
    out = x.clone(memory_format=torch.contiguous_format) if out is None else out
    computed = layer(chosen, active.number).reshape(-1, x.shape[-1]).to(out.dtype)
    out.view_as(tokens).index_copy_(0, active.tokens, computed)
    return out


def dense_masked_windows(layer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: torch.Tensor,
                         windows: torch.Tensor, size: int, shift: int = 0) -> torch.Tensor:
    """Reference, differentiable: roll, part, run the layer on all windows, keep the active ones, join, roll back.

    Args:
        layer, x, size, shift: as in `run_windows` and `ActiveWindows`.
        windows: bool (B, rows, cols).
    """
    batch, rows, cols = windows.shape
    rolled = torch.roll(x, (-shift, -shift), dims=(1, 2)).view(batch, rows, size, cols, size, -1)
    parts = rolled.transpose(2, 3).reshape(-1, size**2, x.shape[-1])
    number = torch.arange(rows * cols, device=x.device).repeat(batch)
    parts = torch.where(windows.flatten()[:, None, None], layer(parts, number), parts)
    joined = parts.view(batch, rows, cols, size, size, -1).transpose(2, 3).reshape(x.shape)
    return torch.roll(joined, (shift, shift), dims=(1, 2))
