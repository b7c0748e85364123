"""BasicSR's SwinIR for images of any size, and its model for whatever network."""
from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from basicsr.archs.swinir_arch import SwinIR
from basicsr.models.sr_model import SRModel
from basicsr.models.swinir_model import SwinIRModel

from basicsr_amsr.errors import UserError
from basicsr_amsr.selection.padding import pad_to_multiple

_init, _forward, _test = SwinIR.__init__, SwinIR.forward, SwinIRModel.test


@functools.wraps(_init)
def init(self: Any, *args: Any, **kwargs: Any) -> None:
    """`SwinIR.__init__`, with attention masks for a multiple of the window.

    Raises:
        UserError: blocks, heads and channels that do not go together.
    """
    bound = inspect.signature(_init).bind(self, *args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    window, size, heads = given['window_size'], given['img_size'], given['num_heads']
    given['img_size'] = [-(-side // window) * window for side in ([size] * 2 if isinstance(size, int) else size)]
    if len(given['depths']) != len(heads):
        raise UserError(f'SwinIR: depths has {len(given["depths"])} values, num_heads {len(heads)}: give as many.')
    uneven = next((number for number in heads if given['embed_dim'] % number), None)
    if uneven is not None:
        raise UserError(f'SwinIR: embed_dim {given["embed_dim"]} is no multiple of {uneven}, one of num_heads.')
    _init(*bound.args, **bound.kwargs)
    self.window_size = window


@functools.wraps(_forward)
def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """`SwinIR.forward` on images (N, C, H, W) of any size: padded by reflection, and the result is cropped."""
    height, width = x.shape[-2:]
    padded = pad_to_multiple(x, self.window_size)
    result = _forward(self, padded)
    scale = result.shape[-1] // padded.shape[-1]
    return result[..., :height * scale, :width * scale]


@functools.wraps(_test)
def test(self: Any) -> None:
    """`SwinIRModel.test`, which pads for networks with `window_size` that do not pad themselves."""
    pads_itself = isinstance(self.get_bare_model(self.net_g), SwinIR) or 'window_size' not in self.opt['network_g']
    (SRModel.test if pads_itself else _test)(self)
