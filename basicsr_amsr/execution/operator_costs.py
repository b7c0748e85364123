"""What each operator costs: a table of handles, one per operator as PyTorch's dispatcher names it.

A handle gets the operator's arguments by their schema name and its result, looks at shapes alone, and returns a Cost.
Operators in neither this table nor the list of free ones are reported by the counter.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch


class Cost(NamedTuple):
    """What a call costs.

    Attributes:
        macs: true multiply-accumulates; macs_paper: by the counter behind the tables of the MGA paper.
        activations: elements that a convolution wrote, transposed ones included (the NTIRE challenges' "#Acts").
        convolutions: 1 for a convolution (their "#Conv").
    """

    macs: int
    macs_paper: int
    activations: int = 0
    convolutions: int = 0

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


Handle = Callable[[Mapping[str, Any], Any], Cost]
HANDLES: dict[str, Handle] = {}


def register_handle(*names: str) -> Callable[[Handle], Handle]:
    """Decorator: the handle of the operators `names` ('namespace::operator', overloads share it).

    Custom operators of an execution backend register theirs here.
    """
    def register(handle: Handle) -> Handle:
        for name in names:
            if name in HANDLES:
                raise ValueError(f'{name} has a handle already.')
            HANDLES[name] = handle
        return handle

    return register


def bind(func: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their name in the operator's schema; what was not given is left out."""
    names = [argument.name for argument in func._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def first(arguments: Mapping[str, Any], *names: str) -> torch.Tensor:
    """The argument that goes by one of `names`, which differ between backends."""
    return next(arguments[name] for name in names if name in arguments)


def positions(tensor: torch.Tensor) -> int:
    """Batch × spatial positions of (N, C, …)."""
    return tensor.numel() // max(tensor.shape[1], 1)


def convolution_cost(arguments: Mapping[str, Any], out: torch.Tensor, transposed: bool) -> Cost:
    """Every weight is used once per output position, in a transposed convolution once per *input* position.

    The weight holds Cout·(Cin/groups)·k·k elements (transposed: Cin·(Cout/groups)·k·k), so groups need no thought.
    Products with padded zeros, and those that fall on a cropped border, are counted. The paper's counter takes the
    output positions in either case.
    """
    source = first(arguments, 'input', 'self')
    size = arguments['weight'].numel()
    at_output = size * positions(out)
    return Cost(size * positions(source) if transposed else at_output, at_output, out.numel(), 1)


@register_handle('aten::convolution', 'aten::_convolution', 'aten::convolution_overrideable')
def convolution(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """The dispatcher's general convolution."""
    return convolution_cost(arguments, out, bool(arguments['transposed']))


@register_handle('aten::cudnn_convolution', 'aten::miopen_convolution', 'aten::miopen_depthwise_convolution',
                 'aten::mkldnn_convolution', 'aten::thnn_conv2d', 'aten::_slow_conv2d_forward',
                 'aten::slow_conv3d', 'aten::slow_conv3d_forward', 'aten::slow_conv_dilated2d',
                 'aten::slow_conv_dilated3d', 'aten::_conv_depthwise2d', 'aten::conv_depthwise3d',
                 'aten::_nnpack_spatial_convolution', 'aten::_mps_convolution')
def forward_convolution(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """A backend's convolution."""
    if isinstance(out, (tuple, list)):
        out = out[0]
    return convolution_cost(arguments, out, False)


@register_handle('aten::cudnn_convolution_transpose', 'aten::miopen_convolution_transpose',
                 'aten::slow_conv_transpose2d', 'aten::slow_conv_transpose3d', 'aten::_mps_convolution_transpose')
def transposed_convolution(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """A backend's transposed convolution."""
    return convolution_cost(arguments, out, True)


@register_handle('aten::cudnn_convolution_relu', 'aten::cudnn_convolution_add_relu', 'aten::miopen_convolution_relu',
                 'aten::miopen_convolution_add_relu')
def convolution_relu(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """A backend's convolution with a fused ReLU."""
    return convolution_cost(arguments, out, False) + rectifier(arguments, out)


@register_handle('basicsr_amsr::convolve_rows')
def listed_convolution(arguments: Mapping[str, Any], out: None) -> Cost:
    """A convolution of listed rows by Triton (execution/triton/operator.py), with what it does before it writes."""
    written = arguments['pixels'] * arguments['weight'].shape[0]
    macs = arguments['pixels'] * arguments['weight'].numel()
    rectified = bool(arguments['before']) + bool(arguments['after'])
    return Cost(macs, macs + rectified * written, written, 1)


@register_handle('aten::relu', 'aten::relu_', 'aten::leaky_relu', 'aten::leaky_relu_', 'aten::prelu',
                 'aten::_prelu_kernel')
def rectifier(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """No multiply-accumulate; the paper's counter takes one operation per output element."""
    return Cost(0, out.numel())


@register_handle('aten::mm', 'aten::bmm', 'aten::mv', 'aten::_int_mm', 'aten::_scaled_mm')
def matrix_product(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """(…, m, k) × (…, k, n): one per output element and k."""
    macs = out.numel() * first(arguments, 'self', 'input').shape[-1]
    return Cost(macs, macs)


@register_handle('aten::addmm', 'aten::addmm_', 'aten::addmv', 'aten::addmv_', 'aten::baddbmm', 'aten::baddbmm_',
                 'aten::_addmm_activation')
def added_matrix_product(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """A matrix product added to a tensor; the addition is free."""
    macs = out.numel() * first(arguments, 'mat1', 'batch1', 'mat').shape[-1]
    return Cost(macs, macs)


@register_handle('aten::addbmm', 'aten::addbmm_')
def summed_matrix_product(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """A batch of matrix products summed up."""
    batch, _, inner = arguments['batch1'].shape
    macs = out.numel() * batch * inner
    return Cost(macs, macs)


@register_handle('aten::linear', 'aten::mkldnn_linear')
def linear(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """(…, k) × (n, k)ᵀ."""
    macs = out.numel() * first(arguments, 'input', 'self').shape[-1]
    return Cost(macs, macs)


@register_handle('aten::dot', 'aten::vdot')
def inner_product(arguments: Mapping[str, Any], out: torch.Tensor) -> Cost:
    """The MACs of an inner product: one per element of a vector."""
    macs = arguments['self'].numel()
    return Cost(macs, macs)


@register_handle('aten::_scaled_dot_product_flash_attention', 'aten::_scaled_dot_product_flash_attention_for_cpu',
                 'aten::_scaled_dot_product_efficient_attention', 'aten::_scaled_dot_product_cudnn_attention',
                 'aten::_scaled_dot_product_fused_attention_overrideable')
def attention(arguments: Mapping[str, Any], out: Any) -> Cost:
    """Query (…, l, e), key (…, m, e), value (…, m, v): l·m·(e + v) per head, attention masks not considered."""
    query, key, value = arguments['query'], arguments['key'], arguments['value']
    rows = query.numel() // query.shape[-1]
    macs = rows * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    return Cost(macs, macs)
