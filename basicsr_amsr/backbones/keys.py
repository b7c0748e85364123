"""Names and shapes in state dicts: renaming by rules, and reading a network's options off them."""
from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

StateDict = dict[str, torch.Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def rename(state_dict: Mapping[str, torch.Tensor], rules: Sequence[Rule]) -> StateDict:
    """Every key rewritten by the first rule (pattern, replacement) that matches its start, if one does."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in compiled:
            if pattern.match(key):
                key = pattern.sub(replacement, key, count=1)
                break
        renamed[key] = value
    return renamed


def renamer(rules: Sequence[Rule]) -> Callable[[StateDict, nn.Module], StateDict]:
    """A `Backbone.convert` that only renames."""
    return lambda state_dict, net: rename(state_dict, rules)


def identifier(read: Callable[[StateDict], dict[str, Any]], needs: Sequence[str],
               rules: Sequence[Rule] = ()) -> Callable[[StateDict], dict[str, Any]]:
    """A `Backbone.identify`: `read` of the renamed state dict where it has all keys in `needs`, else {}."""
    def identify(state_dict: StateDict) -> dict[str, Any]:
        renamed = rename(state_dict, rules)
        return read(renamed) if all(key in renamed for key in needs) else {}

    return identify


def count(state_dict: Mapping[str, torch.Tensor], pattern: str) -> int:
    """Number of different integers (the pattern's first group) that the keys hold, matched from their start."""
    return len({int(match[1]) for match in (re.match(pattern, key) for key in state_dict) if match})


def shuffle_scale(state_dict: Mapping[str, torch.Tensor], first: str, second: str, num_feat: int) -> int:
    """Upscaling factor of a pixel-shuffle upsampler of `num_feat` channels in and out.

    Read from its first convolution's weight, `first`, and from whether there is a `second` one, as at ×4.
    """
    return 4 if second in state_dict else math.isqrt(state_dict[first].shape[0] // num_feat)


def window_upsampler(state_dict: Mapping[str, torch.Tensor]) -> tuple[int, str]:
    """Upscaling factor and `upsampler` of a window transformer of SwinIR's kind, whose tail is the classical one or a
    single convolution and a shuffle."""
    if 'conv_last.weight' in state_dict:
        return shuffle_scale(state_dict, 'upsample.0.weight', 'upsample.2.weight',
                             state_dict['conv_last.weight'].shape[1]), 'pixelshuffle'
    channels = state_dict['conv_first.weight'].shape[1]
    return math.isqrt(state_dict['upsample.0.weight'].shape[0] // channels), 'pixelshuffledirect'
