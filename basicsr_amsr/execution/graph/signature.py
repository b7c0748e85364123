"""What a network's course depends on beside its weights: networks of one signature are built alike."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size)


def key_of(net: nn.Module, *also: Any) -> Any:
    """A key that networks share if they are built alike, and `also` is the same; None where that cannot be told."""
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
OURS = ('amsr', 'last_keep', 'variant', 'costs', 'calibrated', 'native', 'units', 'whole', 'structure', 'skip')


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
