"""BasicSR's SwinIR for images of any size."""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from basicsr.archs.swinir_arch import SwinIR

from basicsr_amsr.errors import UserError
from basicsr_amsr.padding import cropped, pad_to_multiple

_init, _forward = SwinIR.__init__, SwinIR.forward


def check_heads(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    """UserError for blocks, heads and channels that do not go together."""
    if len(depths) != len(num_heads):
        raise UserError(f'SwinIR: depths has {len(depths)} values, num_heads {len(num_heads)}: give as many.')
    uneven = next((number for number in num_heads if embed_dim % number), None)
    if uneven is not None:
        raise UserError(f'SwinIR: embed_dim {embed_dim} is no multiple of {uneven}, one of num_heads.')


def whole_windows(side: int, window: int) -> int:
    """The next multiple of the window."""
    return -(-side // window) * window


@functools.wraps(_init)
def init(self: Any, *args: Any, **kwargs: Any) -> None:
    """`SwinIR.__init__`, with attention masks for a multiple of the window.

    Raises:
        UserError: blocks, heads and channels that do not go together.
    """
    bound = inspect.signature(_init).bind(self, *args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    window, size = given['window_size'], given['img_size']
    given['img_size'] = [whole_windows(side, window) for side in ([size] * 2 if isinstance(size, int) else size)]
    check_heads(given['embed_dim'], given['depths'], given['num_heads'])
    _init(*bound.args, **bound.kwargs)
    self.window_size = window


@functools.wraps(_forward)
def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """`SwinIR.forward` on images (N, C, H, W) of any size: padded by reflection, and the result is cropped."""
    return padded_to_windows(x, self.window_size, functools.partial(_forward, self))


def padded_to_windows(x: torch.Tensor, window: int, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Pads images by reflection to multiples of the window, runs `run` on them, and crops its result."""
    padded = pad_to_multiple(x, window)
    return cropped(run(padded), x, padded)
