"""What a pass has to know of a network's modules and weights: found once, then looked at again in a few calls."""
from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import nn

from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.run_by_torch import Weights
from basicsr_amsr.execution.native.library import Library, address

DTYPE = attrgetter('dtype')


class Modules:
    """The modules of a network."""

    def __init__(self, net: nn.Module) -> None:
        modules = list(net.modules())
        self._children = [module._modules for module in modules]
        self._before = [dict(children) for children in self._children]
        self._hooks: list[Any] = [hooks for module in modules[1:]
                                  for hooks in (module._forward_hooks, module._forward_pre_hooks)]

    def are_of(self, net: nn.Module) -> bool:
        """Whether a network still has exactly these modules."""
        return net._modules is self._children[0] and self._children == self._before

    def have_hooks(self) -> bool:
        """Whether a hook is registered on a module within the network."""
        return any(self._hooks)


class Stamp:
    """A fingerprint of the weights of a graph: their addresses and layouts, and a checksum of their bytes, because
    changes through `.data` leave no other trace.

    Args:
        net: with the weights. modules: its own. others: tensors that belong to nobody else, so that they are what they
            were as long as they are the same.

    Attributes:
        content: what has to be equal for packed weights to be.
    """

    def __init__(self, net: nn.Module, modules: Modules, graph: Graph, library: Library,
                 others: tuple[torch.Tensor, ...]) -> None:
        self.modules, self.library, self.others = modules, library, others
        held = {f'{path}.{name}' if path else name: (kept, name) for path, module in net.named_modules()
                for kept in (module._parameters, module._buffers) for name in kept if kept[name] is not None}
        self._held = [held[name] for name in graph.weights if name in held]
        self._made = [name for name in graph.weights if name not in held]  # constants, and what a forward has stored
        self._weights = Weights(net, graph)
        tensors = self._tensors()
        self._places = _places(tensors)
        self._table = _table(tensors) if all(_is_whole(tensor) for tensor in tensors) else None
        self._sum = self._checksum(tensors)
        self.content = self._sum, _sum(library, *_table(others)), [
            (tensor.dtype, tensor.shape, tensor.stride()) for tensor in (*tensors, *others)]

    def holds(self, modules: Modules, others: tuple[torch.Tensor, ...]) -> bool:
        """Whether modules, weights and other tensors are unchanged since the stamp was made."""
        if modules is not self.modules or others is not self.others:
            return False
        try:
            tensors = self._tensors()
            return _places(tensors) == self._places and self._checksum(tensors) == self._sum
        except (KeyError, AttributeError):  # a weight is gone
            return False

    def _tensors(self) -> list[torch.Tensor]:
        held: list[Any] = [kept[name] for kept, name in self._held]
        return [*held, *map(self._weights.__getitem__, self._made)] if self._made else held

    def _checksum(self, tensors: list[torch.Tensor]) -> int:
        if self._table is not None:
            return _sum(self.library, *self._table)
        return checksum(tensors, self.library)


def checksum(tensors: Sequence[torch.Tensor], library: Library | None) -> int:
    """A checksum of the bytes of tensors one after the other, by the native library where there is one."""
    whole = [tensor if _is_whole(tensor) else tensor.cpu().contiguous() for tensor in tensors]
    if library is not None:
        return _sum(library, *_table(whole))
    found = 0
    for tensor in whole:
        by_rows = tensor if tensor.is_contiguous() else tensor.permute(0, 2, 3, 1)
        found = crc32(by_rows.reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def _sum(library: Library, pointers: np.ndarray, sizes: np.ndarray) -> int:
    return library.c.amsr_checksum(address(pointers), address(sizes), len(sizes))


def _places(tensors: list[torch.Tensor]) -> list[Any]:
    of = torch.Tensor
    return [*map(of.data_ptr, tensors), *map(of.size, tensors), *map(of.stride, tensors), *map(DTYPE, tensors)]


def _is_whole(tensor: torch.Tensor) -> bool:
    """Whether its bytes, and no others, lie from its first one on."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.device.type == 'cpu' and (last or tensor.is_contiguous())


def _table(tensors: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Addresses and bytes."""
    return (np.array([tensor.data_ptr() for tensor in tensors], np.uint64),
            np.array([tensor.numel() * tensor.element_size() for tensor in tensors], np.int64))
