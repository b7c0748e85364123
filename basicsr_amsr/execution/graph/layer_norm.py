"""Finds layer normalisation over channels among the ops that networks write it with."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from basicsr_amsr.execution.graph.ops import Arithmetic, LayerNorm, Op, Operand, Torch, Value, Weight
from basicsr_amsr.execution.graph.sizes import Dim

CHANNELS_LAST, CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # of permute
VIEWS = ('unsqueeze', 'reshape', 'view')


def with_layer_norms(ops: Sequence[Op], weights: Mapping[str, torch.Tensor]) -> list[Op]:
    """The ops, in which one `LayerNorm` stands where the last of those that make up a normalisation stood.

    These are (x - mean) / sqrt(variance + eps) of averages over channels, with factors and summands of each channel
    behind it, and layer_norm of the permuted map. The others stay, for whatever else reads them.

    Args:
        weights: that the ops name.
    """
    found = _Found(list(ops), weights)
    for number, op in enumerate(ops):
        norm = found.normalised(op) or found.scaled(op) or found.permuted(op)
        if norm is not None:
            found.ops[number] = norm
    return found.ops


class _Found:
    """Tells of ops, value 1 first, what they are parts of."""

    def __init__(self, ops: list[Op], weights: Mapping[str, torch.Tensor]) -> None:
        self.ops, self.weights = ops, weights

    def normalised(self, op: Op) -> LayerNorm | None:
        """The normalisation whose quotient an op is."""
        if not isinstance(op, Arithmetic) or len(op.shape) != 4 or op.function not in ('div', 'mul'):
            return None
        for centred, root in ((op.left, op.right), *([(op.right, op.left)] if op.function == 'mul' else [])):
            source = self._centred(centred)
            name, arguments = self._call(root)
            if source is None or name != ('sqrt' if op.function == 'div' else 'rsqrt'):
                continue
            total = self._op(arguments['self'])
            if isinstance(total, Arithmetic) and total.function == 'add' and isinstance(total.right, float) and (
                    self._variance_of(total.left) == source):
                return LayerNorm(inputs=(source,), eps=total.right, shape=op.shape, dtype=op.dtype, where=op.where)
        return None

    def scaled(self, op: Op) -> LayerNorm | None:
        """A normalisation with the factors or summands of its channels that an op adds to it."""
        if not isinstance(op, Arithmetic) or op.function not in ('mul', 'add'):
            return None
        for side, other in ((op.left, op.right), (op.right, op.left)):
            norm, name = self._op(side), self._vector(other, op.shape)
            if isinstance(norm, LayerNorm) and name and norm.bias is None:
                if op.function == 'add':
                    return replace(norm, bias=name, where=op.where)
                if norm.weight is None:
                    return replace(norm, weight=name, where=op.where)
        return None

    def permuted(self, op: Op) -> LayerNorm | None:
        """The normalisation that an op gives back with its channels first."""
        name, back = self._arguments(op)
        if name != 'permute' or list(back['dims']) != CHANNELS_FIRST:
            return None
        name, norm = self._call(back['self'])
        if name != 'layer_norm' or len(norm['normalized_shape']) != 1:
            return None
        name, there = self._call(norm['input'])
        held = norm['weight'], norm['bias']
        if name != 'permute' or list(there['dims']) != CHANNELS_LAST or not isinstance(there['self'], Value) or any(
                each is not None and not isinstance(each, Weight) for each in held):
            return None
        weight, bias = (None if each is None else each.name for each in held)
        return LayerNorm(inputs=(there['self'].number,), weight=weight, bias=bias, eps=norm['eps'], shape=op.shape,
                         dtype=op.dtype, where=self._op(back['self']).where)  # type: ignore[union-attr]

    def _op(self, operand: Any) -> Op | None:
        return self.ops[operand.number - 1] if isinstance(operand, Value) and operand.number else None

    def _call(self, operand: Any) -> tuple[str, dict[str, Any]]:
        """The operator that gives an operand, and its arguments by name."""
        return self._arguments(self._op(operand))

    def _arguments(self, op: Op | None) -> tuple[str, dict[str, Any]]:
        schema = getattr(op.target, '_schema', None) if isinstance(op, Torch) else None
        if schema is None:
            return '', {}
        assert isinstance(op, Torch)
        names = [argument.name for argument in schema.arguments]
        defaults = {argument.name: argument.default_value for argument in schema.arguments}
        return schema.name.split('::')[-1], {**defaults, **dict(zip(names, op.args, strict=False)), **op.kwargs}

    def _mean_of(self, operand: Operand) -> Value | None:
        """The map whose average over channels an operand is."""
        name, arguments = self._call(operand)
        over_channels = name == 'mean' and arguments.get('dim') in ([1], [-3]) and arguments['keepdim']
        source = arguments.get('self')
        return source if over_channels and arguments['dtype'] is None and isinstance(source, Value) else None

    def _centred(self, operand: Operand) -> int | None:
        """The value of which an operand is the deviation from its average."""
        op = self._op(operand)
        if not isinstance(op, Arithmetic) or op.function != 'sub' or not isinstance(op.left, Value):
            return None
        return op.left.number if self._mean_of(op.right) == op.left else None

    def _variance_of(self, operand: Operand) -> int | None:
        """The value whose variance over channels an operand is."""
        squares = self._mean_of(operand)
        if squares is None:
            name, arguments = self._call(operand)
            biased = arguments.get('correction', 1) == 0 or arguments.get('unbiased') is False
            over_channels = name == 'var' and arguments['dim'] in ([1], [-3]) and arguments['keepdim'] and biased
            return arguments['self'].number if over_channels and isinstance(arguments['self'], Value) else None
        op, (name, arguments) = self._op(squares), self._call(squares)
        if isinstance(op, Arithmetic) and op.function == 'mul':
            source = self._centred(op.left)
            return source if source == self._centred(op.right) else None
        square = name == 'square' or (name == 'pow' and arguments['exponent'] == 2)
        return self._centred(arguments['self']) if square else None

    def _vector(self, operand: Operand, shape: tuple[Dim, ...]) -> str | None:
        """The name of a weight that an operand is, with one number for each channel of a map."""
        op = self._op(operand)
        own = self.weights[operand.name].shape if isinstance(operand, Weight) else op.shape if op else ()
        if tuple(own) not in ((shape[1], 1, 1), (1, shape[1], 1, 1)):
            return None
        while isinstance(operand, Value):
            name, arguments = self._call(operand)
            if name not in VIEWS:
                return None
            operand = arguments['self']
        return operand.name if isinstance(operand, Weight) else None
