"""How the weights of a plain network become those of its base and refine net."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from basicsr_amsr.backbones.keys import StateDict

Divide = Callable[[StateDict, int, int], tuple[StateDict, StateDict]]


def divider(blocks: str, tail: Sequence[str], layers: int = 1) -> Divide:
    """A `Backbone.divide` for a refine net that names its parts as the plain network does.

    The plain network's blocks after those of the base net become the refine net's, and everything else is given to
    both. Where the plain network has no more blocks than the base net, the refine net's body is new and gets the tail
    alone. What either part has no place for is for the caller to leave out.

    Args:
        blocks: pattern of a body block's keys, from their start, with its index as the first group.
        tail: what the keys of the upsampler start with.
        layers: modules per block in the body's list.

    Returns:
        divide(plain state dict, its number of blocks, those of the base net), the state dicts of base and refine net.
    """
    def divide(plain: StateDict, total: int, base_blocks: int) -> tuple[StateDict, StateDict]:
        refine = {}
        for key, value in plain.items():
            match = re.match(blocks, key)
            if match:
                index = int(match[1]) - base_blocks * layers
                if index >= 0:
                    refine[f'{key[:match.start(1)]}{index}{key[match.end(1):]}'] = value
            elif total > base_blocks or key.startswith(tuple(tail)):
                refine[key] = value
        return dict(plain), refine

    return divide
