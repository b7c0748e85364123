"""What a graph is made of.

Value 0 is the image (B, C, H, W); op i, counted from 0, gives value i + 1. Maps are (B, C, height, width). Weights are
named by the path that they have in the network, so that a graph holds for whatever the network holds at the time.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from basicsr_amsr.execution.graph.sizes import Dim, Size, at


@dataclass(frozen=True)
class Value:
    """A value of the graph as an argument."""

    number: int


@dataclass(frozen=True)
class Weight:
    """A parameter, buffer or tensor attribute of the network as an argument, or a constant of the graph."""

    name: str


Operand = Value | Weight | float


@dataclass(frozen=True, kw_only=True)
class Op:
    """What all ops have.

    Attributes:
        inputs: numbers of the values that it reads.
        shape: of its result, () where that is no tensor. dtype: of its result.
        where: path of the module it stands in, operator and line, for messages.
    """

    inputs: tuple[int, ...]
    shape: tuple[Dim, ...]
    dtype: torch.dtype
    where: str = ''


@dataclass(frozen=True, kw_only=True)
class Conv(Op):
    """A convolution; `transposed` ones have `output_padding`."""

    weight: str
    bias: str | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Pointwise(Op):
    """A function of each element: 'relu', 'leaky_relu' (slope), 'prelu' (`weight`), 'gelu' (its approximation),
    'silu', 'sigmoid', 'tanh', 'clamp' (lowest, highest, or None), 'hardswish', 'hardsigmoid', 'mish'."""

    function: str
    arguments: tuple[Any, ...] = ()
    weight: str | None = None


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Op):
    """'add', 'sub', 'mul' or 'div' of two operands, broadcast."""

    function: Literal['add', 'sub', 'mul', 'div']
    left: Operand
    right: Operand


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Op):
    """Batch normalisation with stored statistics: names of weight, bias, mean and variance."""

    weight: str | None
    bias: str | None
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Op):
    """Each pixel's channels less their average, over the root of their variance plus `eps`; then a factor and a summand
    for each channel (names of weights of C numbers)."""

    eps: float
    weight: str | None = None
    bias: str | None = None


@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """Channels side by side."""


@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """Channels, rows (dim 2) or columns (dim 3) from `start` on, as many as its shape says."""

    dim: int
    start: Dim


@dataclass(frozen=True, kw_only=True)
class Shuffle(Op):
    """Pixel shuffle: (B, C·f², H, W) to (B, C, f·H, f·W); with `inverse` back."""

    factor: int
    inverse: bool = False


@dataclass(frozen=True, kw_only=True)
class Resize(Op):
    """'nearest', 'nearest-exact', 'bilinear' or 'bicubic' interpolation, by `factors` (height, width), or, where they
    are None, to its shape."""

    mode: str
    factors: tuple[float, float] | None
    align_corners: bool = False


@dataclass(frozen=True, kw_only=True)
class Pad(Op):
    """Rows and columns added (left, right, top, bottom) by 'constant', 'reflect', 'replicate' or 'circular'."""

    mode: str
    amounts: tuple[Dim, Dim, Dim, Dim]
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Mean(Op):
    """The average over the image, (B, C, 1, 1); with `active` that of the active pixels, 0 where there is none."""

    active: bool = False


@dataclass(frozen=True, kw_only=True)
class Pool(Op):
    """'max' or 'avg' over windows; zeros of the padding count in an average where `count_padding`."""

    function: Literal['max', 'avg']
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    ceil: bool = False
    count_padding: bool = True


@dataclass(frozen=True, kw_only=True)
class AdaptiveMaxPool(Op):
    """The maxima over windows that divide a map into as many rows and columns as the result has; neighbouring windows
    share pixels where that leaves a rest."""


@dataclass(frozen=True, kw_only=True)
class Enter(Op):
    """The input of a unit that a mask skips as a whole."""


@dataclass(frozen=True, kw_only=True)
class Keep(Op):
    """The output of such a unit. Its inputs are the unit's own, which skipped pixels keep, and the values that the unit
    computes, which active pixels get."""


@dataclass(frozen=True, kw_only=True)
class Zero(Op):
    """A value inside a unit, 0 at skipped pixels."""


@dataclass(frozen=True, kw_only=True)
class Torch(Op):
    """Anything else, run by torch on whole tensors: values, weights and sizes stand in its arguments."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:  # operators cannot be pickled
        held = {each.name: getattr(self, each.name) for each in fields(self)}
        held['target'] = str(self.target) if isinstance(self.target, torch._ops.OpOverload) else self.target
        return _torch, (held,)


def _torch(held: dict[str, Any]) -> Torch:
    if isinstance(held['target'], str):
        held = {**held, 'target': attrgetter(held['target'])(torch.ops)}
    return Torch(**held)


@dataclass(frozen=True)
class Graph:
    """A network.

    Attributes:
        name: of its class.
        ops: in an order in which they can be run.
        outputs: the numbers of the values that it returns; output: of a network that returns one image, its.
        constants: tensors that the network made while it was traced, by name.
        weights: those that the ops name, as meta tensors: their shapes and types.
        image: its shape. image_type: its type.
        traced: size (b, h, w) of the image that it was traced for.
        holds: for which sizes this is what the network does, see `symbols.Symbols.condition`.
        merges: the network sets weights in its forward (SPAN): after they change it has to run once.
    """

    name: str
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    constants: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]
    image: tuple[Dim, ...]
    image_type: torch.dtype
    traced: tuple[int, int, int]
    holds: Dim
    merges: bool = False

    def holds_for(self, size: tuple[int, int, int]) -> bool:
        """Whether this is what the network does to a batch of b images of h × w; size is (b, h, w)."""
        try:
            return bool(at(self.holds, size))
        except ZeroDivisionError:  # a condition for larger images
            return False

    @property
    def samples(self) -> list[tuple[int, int, int]]:
        """Sizes that it holds for, at which the sizes of its maps can be compared."""
        batch, height, width = self.traced
        sizes = [(batch, height + dy, width + dx) for dy, dx in ((0, 0), (1, 3), (2, 1), (5, 8), (height, width))]
        return [size for size in sizes if self.holds_for(size)]

    def of_one_image(self) -> Graph:
        """The graph for single images, of one that was traced for any number of images: torch.export takes that to mean
        two or more."""
        if not isinstance(self.image[0], Size) or not isinstance(self.holds, Size):
            return self
        ops = tuple(replace(op, **{each.name: tree_map(_of_one, getattr(op, each.name)) for each in fields(op)})
                    for op in self.ops)
        holds = Size(f'b == 1 and (lambda b: {self.holds.source})(2)')
        return replace(self, ops=ops, image=tree_map(_of_one, self.image), holds=holds, traced=(1, *self.traced[1:]))

    def shape(self, value: int) -> tuple[Dim, ...]:
        """The shape of a value."""
        return self.ops[value - 1].shape if value else self.image

    def dtype(self, value: int) -> torch.dtype:
        """The type of a value."""
        return self.ops[value - 1].dtype if value else self.image_type

    @property
    def output(self) -> int:
        """The value of a network that returns one image."""
        return self.outputs[0]

    def last_readers(self) -> list[int]:
        """For each value the number of the last op that reads it, −1 where there is none; ops from 0."""
        last = [-1] * (len(self.ops) + 1)
        for number, op in enumerate(self.ops):
            for value in op.inputs:
                last[value] = number
        for value in self.outputs:
            last[value] = len(self.ops)
        return last


def renumbered(op: Op, new: Mapping[int, int]) -> Op:
    """An op that reads other values: `new` has the number of each."""
    def renumber(item: Any) -> Any:
        return Value(new[item.number]) if isinstance(item, Value) else item

    changes: dict[str, Any] = {'inputs': tuple(new[value] for value in op.inputs)}
    for entry in fields(op):
        held = getattr(op, entry.name)
        if entry.name != 'inputs' and tree_any(lambda leaf: isinstance(leaf, Value), held):
            changes[entry.name] = tree_map(renumber, held)
    return replace(op, **changes)


def weights_of(op: Op) -> set[str]:
    """The names of the weights that an op reads."""
    if isinstance(op, Conv | LayerNorm):
        names = {op.weight, op.bias}
    elif isinstance(op, BatchNorm):
        names = {op.weight, op.bias, op.mean, op.variance}
    elif isinstance(op, Pointwise):
        names = {op.weight}
    else:
        held = [getattr(op, name, None) for name in ('left', 'right', 'args', 'kwargs')]
        names = {leaf.name for leaf in tree_leaves(held) if isinstance(leaf, Weight)}
    return {name for name in names if name is not None}


def operands(arguments: Any) -> tuple[int, ...]:
    """The numbers of the values in arguments, nested ones as well."""
    return tuple(leaf.number for leaf in tree_leaves(arguments) if isinstance(leaf, Value))


def _of_one(value: Any) -> Any:
    """A number of an op, with one image in the place of b; else what it is."""
    if not isinstance(value, Size):
        return value
    source = re.sub(r'\bb\b', '1', value.source)
    bound = Size(source)
    return bound if re.search(r'\b[hw]\b', source) else at(bound, (1, 1, 1))
