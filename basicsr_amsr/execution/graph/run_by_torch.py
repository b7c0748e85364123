"""Runs a graph by torch, op by op: the form that the others are compared with. Differentiable."""
from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._pytree import tree_map

from basicsr_amsr.execution.graph.ops import (
    AdaptiveMaxPool,
    Arithmetic,
    BatchNorm,
    Concat,
    Conv,
    Graph,
    Keep,
    LayerNorm,
    Mean,
    Op,
    Pad,
    Pointwise,
    Pool,
    Resize,
    Shuffle,
    Slice,
    Torch,
    Value,
    Weight,
    Zero,
)
from basicsr_amsr.execution.graph.sizes import Size, at

FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    'relu': F.relu, 'leaky_relu': F.leaky_relu, 'silu': F.silu, 'sigmoid': torch.sigmoid, 'tanh': torch.tanh,
    'clamp': torch.clamp, 'hardswish': F.hardswish, 'hardsigmoid': F.hardsigmoid,
    'mish': F.mish, 'gelu': lambda x, approximate: F.gelu(x, approximate=approximate)}

WEIGHT_HOOKS = (WeightNorm, SpectralNorm)


class Weights:
    """The weights of a network by name, as they are now.

    Args:
        net: the network. graph: its graph, for constants.
        live: batch normalisation is done by the network's own layers where they are in training mode.
    """

    def __init__(self, net: nn.Module, graph: Graph, live: bool = False) -> None:
        self.net, self.constants, self.live = net, graph.constants, live

    def __getitem__(self, name: str) -> torch.Tensor:
        path, _, leaf = name.rpartition('.')
        try:
            module = self.net.get_submodule(path)
            for hook in weight_hooks(module).values():
                hook(module, ())
            found = getattr(module, leaf)
        except AttributeError:
            return self.constants[name]
        return found if isinstance(found, torch.Tensor) else self.constants[name]

    def training(self, op: BatchNorm) -> nn.Module | None:
        """The network's own BatchNorm layer where that is in training mode: it normalises by the batch."""
        layer = self.net.get_submodule(op.mean.rpartition('.')[0]) if self.live else None
        return layer if layer is not None and layer.training else None

    def get(self, name: str | None) -> torch.Tensor | None:
        """The weight, or None where there is no name."""
        return None if name is None else self[name]


def weight_hooks(module: nn.Module) -> dict[int, Any]:
    """The hooks that set a module's weights before it runs (nn.utils.weight_norm and spectral_norm), by their keys."""
    return {key: hook for key, hook in module._forward_pre_hooks.items() if isinstance(hook, WEIGHT_HOOKS)}


Mask = Callable[[int, int], torch.Tensor]  # of a map's height and width, bool (B, 1, height, width)


def run(graph: Graph, net: nn.Module, x: torch.Tensor, mask: Mask | None = None,
        live: bool = False) -> torch.Tensor:
    """What `net(x)` gives in evaluation mode.

    Args:
        graph: of the network, one that holds for the size.
        net: whose weights are taken.
        x: (B, C, H, W).
        mask: of the active pixels, where the graph has units that are skipped.
        live: see `Weights`.
    """
    weights, size = Weights(net, graph, live), (x.shape[0], x.shape[2], x.shape[3])
    values: list[Any] = [x]
    last = graph.last_readers()
    for number, op in enumerate(graph.ops):
        values.append(call(op, values, weights, size, x, mask))
        for value in (*op.inputs, number + 1):
            if last[value] <= number:
                values[value] = None
    return values[graph.output]


def call(op: Op, values: Mapping[int, Any] | Sequence[Any], weights: Weights, size: tuple[int, int, int],
         x: torch.Tensor, mask: Mask | None = None) -> Any:
    """The result of an op, given the values that it reads, by their numbers."""
    source: Any = values[op.inputs[0]] if op.inputs else None
    shape = tuple(at(dim, size) for dim in op.shape)

    def operand(item: Any) -> Any:
        if isinstance(item, Value):
            return values[item.number]
        if isinstance(item, Weight):
            weight = weights[item.name].to(x.device)
            return weight.to(x.dtype) if weight.is_floating_point() else weight
        return at(item, size)

    def active(values: torch.Tensor) -> torch.Tensor:
        assert mask is not None
        return mask(*values.shape[2:])

    if isinstance(op, Conv):
        weight, bias = weights[op.weight], weights.get(op.bias)
        if op.transposed:
            return F.conv_transpose2d(source, weight, bias, op.stride, op.padding, op.output_padding, op.groups,
                                      op.dilation)
        return F.conv2d(source, weight, bias, op.stride, op.padding, op.dilation, op.groups)
    if isinstance(op, Pointwise):
        if op.weight is not None:
            return F.prelu(source, weights[op.weight])
        return FUNCTIONS[op.function](source, *op.arguments)
    if isinstance(op, Arithmetic):
        function = getattr(operator, op.function if op.function != 'div' else 'truediv')
        return function(operand(op.left), operand(op.right))
    if isinstance(op, BatchNorm):
        layer = weights.training(op)
        if layer is not None:
            return layer(source)
        return F.batch_norm(source, weights[op.mean], weights[op.variance], weights.get(op.weight),
                            weights.get(op.bias), eps=op.eps)
    if isinstance(op, LayerNorm):
        factors, summands = (None if name is None else weights[name].flatten() for name in (op.weight, op.bias))
        last = source.permute(0, 2, 3, 1)
        return F.layer_norm(last, last.shape[3:], factors, summands, op.eps).permute(0, 3, 1, 2)
    if isinstance(op, Concat):
        return torch.cat([values[i] for i in op.inputs], 1)
    if isinstance(op, Slice):
        return source.narrow(op.dim, at(op.start, size), shape[op.dim])
    if isinstance(op, Shuffle):
        return (F.pixel_unshuffle if op.inverse else F.pixel_shuffle)(source, op.factor)
    if isinstance(op, Resize):
        corners = op.align_corners if op.mode in ('bilinear', 'bicubic') else None
        where = {'size': shape[2:]} if op.factors is None else {'scale_factor': op.factors}
        return F.interpolate(source, mode=op.mode, align_corners=corners, **where)
    if isinstance(op, Pad):
        return F.pad(source, [at(n, size) for n in op.amounts], op.mode, op.value)
    if isinstance(op, Mean):
        return average_of_active(source, active(source)) if op.active else source.mean((2, 3), keepdim=True)
    if isinstance(op, Keep):
        return torch.where(active(source), values[op.inputs[1]], source)
    if isinstance(op, Zero):
        return source * active(source)
    if isinstance(op, Pool):
        if op.function == 'max':
            return F.max_pool2d(source, op.kernel, op.stride, op.padding, ceil_mode=op.ceil)
        return F.avg_pool2d(source, op.kernel, op.stride, op.padding, op.ceil, op.count_padding)
    if isinstance(op, AdaptiveMaxPool):
        return F.adaptive_max_pool2d(source, shape[2:])
    assert isinstance(op, Torch)
    args, kwargs = tree_map(operand, (op.args, op.kwargs), is_leaf=lambda leaf: isinstance(leaf, Size))
    if 'device' in kwargs:
        kwargs = {**kwargs, 'device': x.device}
    return op.target(*args, **kwargs)


def average_of_active(value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the active pixels of each image, (B, C, 1, 1); 0 where there is none."""
    total = (value * mask).sum((2, 3), keepdim=True, dtype=torch.promote_types(value.dtype, torch.float32))
    return (total / mask.sum((2, 3), keepdim=True).clamp(min=1)).to(value.dtype)
