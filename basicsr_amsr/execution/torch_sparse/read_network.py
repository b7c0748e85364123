"""Reads programs off networks. Networks that are built alike share what was traced once in a process."""
from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.graph.from_export import image_channels
from basicsr_amsr.execution.graph.on_disk import read_or_keep
from basicsr_amsr.execution.graph.rules import rules_of
from basicsr_amsr.execution.graph.signature import key_of
from basicsr_amsr.execution.graph.sizes import Size
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.torch_sparse.sparse_program import Program

SIDES = (48, 40)  # of the images whose trace numbers what is predicted
KEPT = 64  # kinds of networks that are remembered

_known: OrderedDict[Any, list[Program]] = OrderedDict()
_lock = threading.Lock()  # torch.export is for one thread at a time


def read_network(net: nn.Module, channels: int | None = None,
                 size: tuple[int, int, int] = (2, *SIDES)) -> Program:
    """What a plain network computes, and what of it can be skipped.

    Args:
        net: its weights play no part, see `Weights`.
        channels: of the image; default 3, 1 where its first convolution takes gray images.
        size: number, height and width of the images.

    Raises:
        Unreadable: torch.export cannot trace the network, or nothing in it can be skipped.
    """
    channels = channels or image_channels(net)
    key = key_of(net, channels)
    with _lock:
        known = _known.setdefault(key, []) if key else []
        for program in known:
            if program.holds_for(size):
                _known.move_to_end(key)
                return program
        first = next(net.parameters(), torch.empty(0))
        with torch.inference_mode(False):
            rules = rules_of(read_or_keep(net, first.new_zeros(size[0], channels, *size[1:]), plain_forward))
        program = Program(rules.graph, rules.facts, rules.anchor)
        sides = zip(size, (program.graph.image[0], *program.graph.image[2:]), strict=True)
        if any(side > 1 and not isinstance(read_as, Size) for side, read_as in sides):
            raise Unreadable(f'{program.graph.name} cannot be read for images of all sizes, as it treats them '
                             'differently.')
        known.append(program)
        if len(_known) > KEPT:
            _known.popitem(last=False)
    return program


def plain_forward(net: nn.Module, x: torch.Tensor) -> Any:
    """What a network computes where nothing is skipped, converted or not."""
    return getattr(net, 'plain_class', type(net)).forward(net, x)
