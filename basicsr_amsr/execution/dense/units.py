"""Groups the ops of a segment into units: what one native operator does, a head and the steps that follow its sums."""
from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum

from basicsr_amsr.execution.dense.operands import Kind, is_elementwise, is_shuffle, kind_of, mains, other_of
from basicsr_amsr.execution.graph.ops import (
    AdaptiveMaxPool,
    Arithmetic,
    Concat,
    Conv,
    Graph,
    LayerNorm,
    Mean,
    Op,
    Pool,
    Resize,
    Shuffle,
    Slice,
    Value,
    Zero,
)

MOST_KERNEL = 9  # of the native kernels' wavefront
VIEWS = (Concat, Slice, Zero)  # channels of other values, not written anew


class Half(IntEnum):
    """A convolution as a whole, or one of the two steps in which scatter.py computes it."""
    ALL = 0
    PRODUCTS = 1  # of each pixel with all taps
    SUMS = 2      # of the products around each pixel, and the steps


@dataclass(frozen=True)
class Fold:
    """The ops of a unit that are folded into one (fold.py).

    Attributes:
        first, second: the convolutions; factor: of the shuffle between.
    """

    first: Conv
    second: Conv
    factor: int


@dataclass
class Unit:
    """One native operator.

    Attributes:
        ops: numbers of its ops, the head first. main: the value that each reads as its main operand.
        source: the value that the head reads.
        shuffle: of its store.
        enlarged: factor by which nearest neighbours enlarge the source before; the phases of that are channels of the
            convolution, which the store shuffles.
        fold: two convolutions with the shuffle between that are computed as one (fold.py).
        half: which part of it.
        nearest: op that adds an image enlarged by nearest neighbours: number to the image's value.
    """

    ops: list[int]
    main: dict[int, int]
    source: int
    shuffle: int = 1
    enlarged: int = 1
    nearest: dict[int, int] = field(default_factory=dict)
    fold: Fold | None = None
    half: Half = Half.ALL

    @property
    def result(self) -> int:
        """The number of its result."""
        return self.ops[-1] + 1

    @property
    def value(self) -> int:
        """`result`; its negative where the unit makes the products of a convolution in two steps, not its sums."""
        return -self.result if self.half == Half.PRODUCTS else self.result


def can_be_native(graph: Graph, op: Op, fixed: set[int]) -> bool:
    """Whether the native kernels have an op; a shuffle only behind a convolution, which `units_of` decides."""
    shapes = [op.shape, *(graph.shape(value) for value in op.inputs if value not in fixed)]
    if not op.dtype.is_floating_point or any(len(shape) != 4 or shape[0] != 1 for shape in shapes):
        return False
    if isinstance(op, Conv):
        shape = graph.weights[op.weight].shape
        kernel, channels = shape[2:], shape[1] * op.groups
        square = len({*kernel}) == 1 and all(a == b for a, b in (op.stride, op.padding, op.dilation))
        plain = square and op.dilation == (1, 1) and op.inputs[0] not in fixed
        if op.transposed:
            stride = op.stride[0]
            fits = kernel[0] + op.output_padding[0] - 2 * op.padding[0] == stride and op.groups == 1
            return plain and fits and len({*op.output_padding}) == 1
        depthwise = op.groups == channels == op.shape[1]
        grouped = op.groups == 1 or op.groups < channels or depthwise
        return plain and op.padding[0] < kernel[0] <= MOST_KERNEL and grouped
    if isinstance(op, Resize):
        whole = op.factors is None or all(factor == int(factor) for factor in op.factors)
        return (op.mode == 'nearest' and whole) or (op.mode == 'bilinear' and not op.align_corners)
    if isinstance(op, Pool):
        return op.function == 'max' and not op.ceil and all(len({*pair}) == 1 for pair in (
            op.kernel, op.stride, op.padding))
    if isinstance(op, VIEWS):
        return not isinstance(op, Slice) or (op.dim == 1 and isinstance(op.start, int))
    return isinstance(op, Mean | LayerNorm | AdaptiveMaxPool) or is_shuffle(op) or is_elementwise(graph, op, fixed)


def reader_counts(graph: Graph) -> Counter[int]:
    """How many ops read each value; an output has one more reader."""
    counts = Counter(value for op in graph.ops for value in op.inputs)
    counts.update(graph.outputs)
    return counts


def units_of(graph: Graph, members: list[int], kept: set[int], fixed: set[int],
             apart: Collection[int] = ()) -> list[Unit]:
    """The units of a segment, in the order in which they run.

    Args:
        members: numbers of the segment's ops. kept: values that are needed outside of it. fixed: constant values.
        apart: values that have to be maps, not what a unit has on the way.
    """
    readers = reader_counts(graph)
    by_value: dict[int, Unit] = {}
    units: list[Unit] = []
    for number in members:
        op = graph.ops[number]
        if isinstance(op, VIEWS):
            continue
        unit = None
        # a picture that nearest neighbours enlarge is a step of what it is added to, not the other way round
        for main in sorted(mains(graph, op, fixed), key=lambda value: _is_resize(graph, by_value.get(value))):
            owner = by_value.get(main)
            alone = readers[main] == 1 and main not in kept and main not in apart
            if owner and alone and _takes(graph, owner, op, main, readers, kept, fixed, number):
                unit = owner
                del by_value[main]
                break
        if unit is None:
            source = mains(graph, op, fixed)[0]
            unit = Unit([number], {number: source}, source)
            resize = by_value.get(source)
            factor = _enlarges(graph, resize, op) if readers[source] == 1 and not (
                source in kept or source in apart) else 1
            if resize and factor > 1:
                units.remove(resize)
                unit.source, unit.shuffle, unit.enlarged = resize.source, factor, factor
            units.append(unit)
        else:
            unit.ops.append(number)
            unit.main[number] = main
        if is_shuffle(op):
            assert isinstance(op, Shuffle)
            unit.shuffle *= op.factor
        by_value[number + 1] = unit
        for resized in unit.nearest.values():
            units[:] = [each for each in units if each.value != resized]
    for unit in units:
        for number, resized in unit.nearest.items():
            unit.nearest[number] = graph.ops[resized - 1].inputs[0]
    return sorted(units, key=lambda unit: unit.value)


def _is_resize(graph: Graph, unit: Unit | None) -> bool:
    return unit is not None and isinstance(graph.ops[unit.ops[0]], Resize)


def _enlarges(graph: Graph, unit: Unit | None, op: Op) -> int:
    """By what factor a unit enlarges the source of a convolution that can take that over; 1 where it does not."""
    resize = graph.ops[unit.ops[0]] if unit else None
    if not isinstance(resize, Resize) or not isinstance(op, Conv) or unit is None or len(unit.ops) > 1:
        return 1
    kernel = graph.weights[op.weight].shape[2]
    plain = not op.transposed and op.groups == 1 and op.stride == (1, 1) and kernel % 2 and (
        op.padding[0] == kernel // 2)
    return int(resize.factors[0]) if plain and resize.mode == 'nearest' and resize.factors and len(
        {*resize.factors}) == 1 else 1


def _takes(graph: Graph, unit: Unit, op: Op, main: int, readers: Counter[int], kept: set[int], fixed: set[int],
           number: int) -> bool:
    """Whether an op can be a step of the unit that computes its main operand."""
    head = graph.ops[unit.ops[0]]
    if is_shuffle(op):
        reads = any(kind_of(graph, other_of(step, unit.main[each]), step.shape, fixed) in (Kind.MAP, Kind.PIXEL)
                    for each in unit.ops if isinstance(step := graph.ops[each], Arithmetic))
        grouped = isinstance(head, Conv) and head.groups > 1 and number + 1 in kept  # which pictures cannot be
        return isinstance(head, Conv) and not grouped and unit.shuffle == 1 and not head.transposed and not reads
    if isinstance(head, Mean) or not is_elementwise(graph, op, fixed):
        return False
    shuffled = unit.shuffle > 1 or (isinstance(head, Conv) and head.transposed)
    if not isinstance(op, Arithmetic) or not shuffled:
        return True
    other = other_of(op, main)
    if kind_of(graph, other, op.shape, fixed) in (Kind.SCALAR, Kind.VECTOR):
        return True
    # a picture enlarged by nearest neighbours, as far as the convolution's own pixels are
    if not isinstance(other, Value) or op.function != 'add' or readers[other.number] != 1 or other.number == 0:
        return False
    resize = graph.ops[other.number - 1]
    fits = isinstance(resize, Resize) and resize.mode == 'nearest' and resize.factors == (unit.shuffle, unit.shuffle)
    if fits and number + 1 in graph.outputs:
        unit.nearest[number] = other.number
        return True
    return False
