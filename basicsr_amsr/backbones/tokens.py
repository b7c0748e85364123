"""Window transformers whose tokens can be skipped: which networks these are, and what is known of each."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from basicsr_amsr.backbones import craft_tokens, dat_tokens


def unpadded(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The image as it is, for networks that take any size."""
    return x


@dataclass(frozen=True)
class TokenFamily:
    """A family of networks.

    Attributes:
        holds: whether a network is one of them.
        forward: `forward(net, x, form)` computes it by the layers of `form`, see `execution.tokens`.
        cell: side of what is skipped, in tokens, at most: windows and shifts are multiples of it.
        everywhere: prefixes of the names of weights that run at all tokens.
        pad: makes of the images what the network makes of them first.
    """

    holds: Callable[[Any], bool]
    forward: Callable[[Any, torch.Tensor, Any], torch.Tensor]
    cell: int
    everywhere: Callable[[Any], tuple[str, ...]]
    pad: Callable[[Any, torch.Tensor], torch.Tensor] = unpadded


FAMILIES = (
    TokenFamily(dat_tokens.holds, dat_tokens.forward, 4, dat_tokens.everywhere),
    TokenFamily(craft_tokens.holds, craft_tokens.forward, 2, craft_tokens.everywhere, craft_tokens.pad),
)


def token_family(net: nn.Module) -> TokenFamily | None:
    """The family of a network, told by its structure."""
    return next((family for family in FAMILIES if family.holds(net)), None)
