"""Which ATen operators are which ops, by name; `Torch` is what the rest becomes.

A form gets the reader (for `result`), the node and its arguments by name, and returns an op, a tuple of them where the
operator gives several values, or None where it is not of the kind that the op means.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from basicsr_amsr.execution.graph.ops import (
    AdaptiveMaxPool,
    Arithmetic,
    BatchNorm,
    Concat,
    Conv,
    Enter,
    Keep,
    Mean,
    Op,
    Pad,
    Pointwise,
    Pool,
    Resize,
    Shuffle,
    Slice,
    Value,
    Weight,
    operands,
)
from basicsr_amsr.execution.graph.sizes import Size

Form = Callable[[Any, Any, dict[str, Any]], Any]
FORMS: dict[str, Form] = {}

# Operators that give back their argument in evaluation mode, where its type and shape stay.
IDENTITIES = frozenset({
    'contiguous', 'clone', 'detach', 'detach_', 'alias', 'type_as', 'to', '_to_copy', 'dropout', 'feature_dropout',
    'dropout_', 'lift_fresh_copy', 'expand_as', 'expand', 'reshape', 'view', 'identity'})
# The names of their arguments, after the map, in the order of Pointwise.arguments.
POINTWISE = {'relu': (), 'leaky_relu': ('negative_slope',), 'gelu': ('approximate',), 'silu': (), 'sigmoid': (),
             'tanh': (), 'hardtanh': ('min_val', 'max_val'), 'clamp': ('min', 'max'), 'hardswish': (),
             'hardsigmoid': (), 'mish': ()}


def register_form(*names: str, gives: Callable[[Any], bool] | None = None) -> Callable[[Form], Form]:
    """Decorator: the form of these operators where what they give is a map, or is as `gives` says."""
    def register(form: Form) -> Form:
        def checked(reader: Any, node: Any, a: dict[str, Any]) -> Any:
            return form(reader, node, a) if (gives or _is_map)(node.meta.get('val')) else None

        FORMS.update(dict.fromkeys(names, checked))
        return form

    return register


def _is_map(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == 4 and value.is_floating_point()


def _operator(node: Any) -> Any:
    """The name of a node's operator, whether it works in place or not."""
    return node.target._schema.name.split('::')[-1].removesuffix('_')


def _pair(numbers: Any) -> tuple[Any, Any]:
    numbers = list(numbers) if isinstance(numbers, (list, tuple)) else [numbers]
    return (numbers[0], numbers[-1])


def _name(weight: Any) -> str | None:
    return weight.name if isinstance(weight, Weight) else None


def _fits(*weights: Any) -> bool:
    """Whether arguments that should be weights are, or are absent."""
    return all(weight is None or isinstance(weight, Weight) for weight in weights)


@register_form('conv2d', 'conv_transpose2d')
def _conv(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if not isinstance(a['weight'], Weight) or not _fits(a['bias']):
        return None
    dilation, padding = _pair(a['dilation']), a['padding']
    if isinstance(padding, str):
        sides = reader.weights[a['weight'].name].shape[2:]
        reach = [d * (k - 1) for d, k in zip(dilation, sides, strict=True)]
        if padding == 'same' and any(r % 2 for r in reach):
            return None
        padding = [r // 2 for r in reach] if padding == 'same' else [0, 0]
    transposed = 'output_padding' in a
    return Conv(inputs=operands(a['input']), weight=a['weight'].name, bias=_name(a['bias']), stride=_pair(a['stride']),
                padding=_pair(padding), dilation=dilation, groups=a['groups'], transposed=transposed,
                output_padding=_pair(a['output_padding']) if transposed else (0, 0), **reader.result(node))


@register_form(*POINTWISE)
def _pointwise(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    name, source = _operator(node), a['self']
    arguments = tuple(a[key] for key in POINTWISE[name])
    if not isinstance(source, Value) or any(isinstance(each, (Value, Weight, Size)) for each in arguments):
        return None
    return Pointwise(inputs=operands(source), function='clamp' if name == 'hardtanh' else name, arguments=arguments,
                     **reader.result(node))


@register_form('relu6')
def _relu6(reader: Any, node: Any, a: dict[str, Any]) -> Op:
    return Pointwise(inputs=operands(a['self']), function='clamp', arguments=(0.0, 6.0), **reader.result(node))


@register_form('prelu')
def _prelu(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if not isinstance(a['weight'], Weight):
        return None
    return Pointwise(inputs=operands(a['self']), function='prelu', weight=a['weight'].name, **reader.result(node))


@register_form('add', 'sub', 'mul', 'div')
def _arithmetic(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    left, right = a['self'], a['other']
    if a.get('alpha', 1) != 1 or a.get('rounding_mode') is not None:
        return None
    if not all(isinstance(side, (Value, Weight, int, float)) for side in (left, right)):
        return None
    return Arithmetic(inputs=operands((left, right)), function=_operator(node), left=left, right=right,
                      **reader.result(node))


@register_form('batch_norm')
def _batch_norm(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if a['training'] or not isinstance(a['running_mean'], Weight) or not _fits(a['weight'], a['bias']):
        return None
    return BatchNorm(inputs=operands(a['input']), weight=_name(a['weight']), bias=_name(a['bias']),
                     mean=a['running_mean'].name, variance=a['running_var'].name, eps=a['eps'], **reader.result(node))


@register_form('cat', 'concat')
def _cat(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if a['dim'] not in (1, -3) or not all(isinstance(v, Value) for v in a['tensors']):
        return None
    return Concat(inputs=operands(a['tensors']), **reader.result(node))


@register_form('chunk', 'split', 'split_with_sizes', 'tensor_split', gives=lambda parts: all(map(_is_map, parts)))
def _parts(reader: Any, node: Any, a: dict[str, Any]) -> tuple[Op, ...] | None:
    parts = node.meta['val']
    if a['dim'] not in (1, -3) or not isinstance(a['self'], Value):
        return None
    result, start = [], 0
    for part in parts:
        if not isinstance(part.shape[1], int):
            return None
        shape = tuple(map(reader.symbols.read, part.shape))
        result.append(Slice(inputs=operands(a['self']), dim=1, start=start, shape=shape, dtype=part.dtype,
                            where=reader.result(node)['where']))
        start += part.shape[1]
    return tuple(result)


@register_form('slice', 'narrow')
def _slice(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if not isinstance(a['self'], Value) or a.get('step', 1) != 1:
        return None
    dim, start = a['dim'] % 4, a['start'] if a['start'] is not None else 0
    if dim == 0:
        return None
    if isinstance(start, int) and start < 0:
        whole = reader.symbols.read(node.args[0].meta['val'].shape[dim])
        if not isinstance(whole, int):
            return None
        start += whole
    return Slice(inputs=operands(a['self']), dim=dim, start=start, **reader.result(node))


@register_form('pixel_shuffle', 'pixel_unshuffle')
def _shuffle(reader: Any, node: Any, a: dict[str, Any]) -> Op:
    inverse = 'downscale_factor' in a
    factor = a['downscale_factor'] if inverse else a['upscale_factor']
    return Shuffle(inputs=operands(a['self']), factor=factor, inverse=inverse, **reader.result(node))


RESIZES = {'upsample_nearest2d': 'nearest', '_upsample_nearest_exact2d': 'nearest-exact',
           'upsample_bilinear2d': 'bilinear', 'upsample_bicubic2d': 'bicubic'}


@register_form(*RESIZES)
def _resize(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    factors = a.get('scale_factors')
    if factors is None and 'input' not in a:
        return None
    return Resize(inputs=operands(a['input']), mode=RESIZES[_operator(node)],
                  align_corners=bool(a.get('align_corners', False)),
                  factors=None if factors is None else _pair(factors), **reader.result(node))


@register_form('pad', 'constant_pad_nd', 'reflection_pad2d', 'replication_pad2d')
def _pad(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    amounts = list(a['pad'] if 'pad' in a else a['padding'])
    if len(amounts) > 4:
        return None
    amounts += [0] * (4 - len(amounts))
    modes = {'reflection_pad2d': 'reflect', 'replication_pad2d': 'replicate'}
    mode = a.get('mode') or modes.get(_operator(node), 'constant')
    source = a.get('self', a.get('input'))
    return Pad(inputs=operands(source), mode=mode, amounts=tuple(amounts), value=float(a.get('value') or 0.0),
               **reader.result(node))


@register_form('adaptive_avg_pool2d', 'mean')
def _mean(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if 'output_size' in a:
        over_image = list(a['output_size']) == [1, 1]
    else:
        over_image = a.get('keepdim', False) and a.get('dtype') is None and a.get('dim') is not None and sorted(
            dim % 4 for dim in a['dim']) == [2, 3]
    return Mean(inputs=operands(a['self']), **reader.result(node)) if over_image else None


@register_form('max_pool2d', 'avg_pool2d')
def _pool(reader: Any, node: Any, a: dict[str, Any]) -> Op | None:
    if _pair(a.get('dilation', 1)) != (1, 1) or a.get('divisor_override') is not None:
        return None
    return Pool(inputs=operands(a['self']), function='max' if _operator(node) == 'max_pool2d' else 'avg',
                kernel=_pair(a['kernel_size']), stride=_pair(a['stride'] or a['kernel_size']),
                padding=_pair(a['padding']), ceil=a['ceil_mode'], count_padding=a.get('count_include_pad', True),
                **reader.result(node))


@register_form('adaptive_max_pool2d', gives=lambda results: _is_map(results[0]))
def _adaptive_max_pool(reader: Any, node: Any, a: dict[str, Any]) -> tuple[Op, ...] | None:
    if any(user.args[1] and user.users for user in node.users):  # where the maxima lie
        return None
    maxima = node.meta['val'][0]
    return (AdaptiveMaxPool(inputs=operands(a['self']), shape=tuple(map(reader.symbols.read, maxima.shape)),
                            dtype=maxima.dtype, where=reader.result(node)['where']),)


@register_form('enter_unit')
def _enter(reader: Any, node: Any, a: dict[str, Any]) -> Op:
    return Enter(inputs=operands(a['x']), **reader.result(node))


@register_form('keep_skipped')
def _keep(reader: Any, node: Any, a: dict[str, Any]) -> Op:
    return Keep(inputs=operands((a['x'], a['y'])), **reader.result(node))
