"""Reads programs off networks. Networks that are built alike share what was traced once in a process."""
from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.graph.from_export import image_channels, read
from basicsr_amsr.execution.graph.rules import rules_of
from basicsr_amsr.execution.graph.sizes import Size
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.region.region_program import Program

SIDES = (48, 40)  # of the images whose trace numbers what is predicted
KEPT = 64  # kinds of networks that are remembered
PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size)

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
            rules = rules_of(read(net, first.new_zeros(size[0], channels, *size[1:]), plain_forward))
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


def key_of(net: nn.Module, *also: Any) -> Any:
    """What all networks have in common that are built alike, `also` with it; None where that cannot be told."""
    try:
        key = (*also, signature(net))
        hash(key)
    except TypeError:  # it holds what cannot be compared
        return None
    return key


def signature(net: nn.Module) -> Any:
    """All that a network's course can depend on but its weights; TypeError where that cannot be told."""
    numbers: dict[int, int] = {}  # modules and weights that stand in several places

    def number(each: Any) -> int:
        return numbers.setdefault(id(each), len(numbers))

    found = []
    for path, module in net.named_modules(remove_duplicate=False):
        if module._forward_hooks or module._forward_pre_hooks or 'forward' in vars(module):
            raise TypeError(path)
        held = [(name, _comparable(value)) for name, value in sorted(vars(module).items())
                if not name.startswith('_') and name not in ('training', *OURS)]
        weights = [(name, number(tensor), tuple(tensor.shape), tensor.dtype, tensor.device.type)
                   for group in (module._parameters, module._buffers) for name, tensor in group.items()
                   if tensor is not None]
        found.append((path, number(module), getattr(module, 'plain_class', type(module)), *held, *weights))
    return tuple(found)


# What a converted module has beside its own attributes.
OURS = ('amsr', 'last_keep', 'variant', 'costs', 'region', 'native', 'units', 'whole', 'structure', 'skip')


def _comparable(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return ('tensor', tuple(value.shape), value.dtype, value.device.type)
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_comparable, value))
    if isinstance(value, dict):
        return (dict, *((key, _comparable(each)) for key, each in value.items()))
    if isinstance(value, PLAIN):
        return (type(value), value)
    if isinstance(value, (type, Callable)) and getattr(value, '__closure__', None) is None and hasattr(  # type: ignore[arg-type]
            value, '__qualname__'):
        return value
    raise TypeError(type(value))
