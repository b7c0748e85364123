"""Whether a network's weights are those that were packed."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.reference import Weights
from basicsr_amsr.execution.native.library import Library


class Stamp:
    """What the weights of a graph hold: a checksum of their bytes, as steps through `.data` leave no other trace."""

    def __init__(self, net: nn.Module, graph: Graph, library: Library, others: tuple[torch.Tensor, ...] = ()) -> None:
        weights, held = Weights(net, graph), _held(net)
        tensors = [*((held[name] if name in held else weights[name]).detach() for name in graph.weights), *others]
        kept = [tensor if tensor.is_contiguous() and tensor.device.type == 'cpu' else tensor.cpu().contiguous()
                for tensor in tensors]
        pointers = np.array([tensor.data_ptr() for tensor in kept], np.uint64)
        sizes = np.array([tensor.numel() * tensor.element_size() for tensor in kept], np.int64)
        self.shapes = [(tensor.dtype, tuple(tensor.shape)) for tensor in tensors]
        self.sum = library.c.amsr_checksum(pointers.ctypes.data, sizes.ctypes.data, len(kept))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stamp) and (self.sum, self.shapes) == (other.sum, other.shapes)

    __hash__ = None  # type: ignore[assignment]


def _held(net: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, in one walk: a tenth of the time of looking each up."""
    return {f'{path}.{name}' if path else name: tensor for path, module in net.named_modules()
            for kept in (module._parameters, module._buffers) for name, tensor in kept.items() if tensor is not None}
