"""Counts multiply-accumulates of a graph, by the convention of the network's count at the dispatcher: those of its
convolutions and matrix products, however they are computed."""
from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map

from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.graph.ops import Conv, Graph, Op, Torch, Value, Weight
from basicsr_amsr.execution.graph.sizes import Size, at

Sizes = tuple[int, int, int]
# Operators of whole tensors that hold matrix products.
PRODUCTS = frozenset({
    'linear', 'matmul', 'mm', 'bmm', 'addmm', 'baddbmm', 'einsum', 'tensordot', 'scaled_dot_product_attention',
    'conv1d', 'conv2d', 'conv3d', 'conv_transpose1d', 'conv_transpose2d', 'conv_transpose3d', 'bilinear', 'outer',
    'dot', 'mv'})


def conv_macs(graph: Graph, op: Conv, size: Sizes) -> int:
    """MACs of a convolution: each weight once per output position, in a transposed one once per input position."""
    batch, _, height, width = (graph.shape(op.inputs[0]) if op.transposed else op.shape)
    return graph.weights[op.weight].numel() * at(batch, size) * at(height, size) * at(width, size)


def macs(graph: Graph, size: Sizes) -> list[int]:
    """MACs of each op, for a batch of b images of h × w: size is (b, h, w)."""
    return [conv_macs(graph, op, size) if isinstance(op, Conv) else _torch_macs(graph, op, size) for op in graph.ops]


def _torch_macs(graph: Graph, op: Op, size: Sizes) -> int:
    if not isinstance(op, Torch) or getattr(op.target, '_schema', None) is None:
        return 0
    if op.target._schema.name.split('::')[-1] not in PRODUCTS:
        return 0

    def operand(item: Any) -> Any:
        if isinstance(item, Value):
            shape = [at(dim, size) for dim in graph.shape(item.number)]
            return torch.empty(shape, dtype=graph.dtype(item.number), device='meta')
        if isinstance(item, Weight):
            return graph.weights[item.name]
        return at(item, size)

    args, kwargs = tree_map(operand, (op.args, op.kwargs), is_leaf=lambda leaf: isinstance(leaf, Size))
    with MacCounter() as counter:
        op.target(*args, **({**kwargs, 'device': 'meta'} if 'device' in kwargs else kwargs))
    return counter.macs
