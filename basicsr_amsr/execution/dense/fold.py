"""A convolution, a pixel shuffle and a convolution with few outputs as one convolution before the shuffle.

Nothing that is not linear lies between, so that the large map between them, its memory and most of its arithmetic go.
Only the outermost pixels of the picture differ, since zeros are around the map between: they are computed apart.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from basicsr_amsr.execution.dense.operands import Kind, kind_of, other_of
from basicsr_amsr.execution.dense.units import Fold, Unit, reader_counts
from basicsr_amsr.execution.graph import run_by_torch
from basicsr_amsr.execution.graph.ops import Arithmetic, Conv, Graph, Shuffle

MOST_OUTPUTS = 8  # channels of the second convolution, from which the first by Winograd would be less work
Read = Callable[[], torch.Tensor]


def fold(graph: Graph, units: list[Unit], outputs: set[int], fixed: set[int]) -> list[Unit]:
    """Fold where it can be: the result has to be a picture that is needed outside and nowhere else."""
    readers = reader_counts(graph)
    by_value = {unit.value: unit for unit in units}
    for unit in units:
        before, head = by_value.get(unit.source), graph.ops[unit.ops[0]]
        if before is None or len(before.ops) != 2 or before.enlarged > 1 or unit.shuffle > 1 or unit.nearest:
            continue
        first, shuffle = (graph.ops[number] for number in before.ops)
        if not (isinstance(head, Conv) and isinstance(first, Conv) and isinstance(shuffle, Shuffle)):
            continue
        steps = [graph.ops[number] for number in unit.ops[1:]]
        plain = all(not isinstance(step, Arithmetic) or kind_of(
            graph, other_of(step, unit.main[number]), step.shape, fixed) in (Kind.SCALAR, Kind.VECTOR)
            for number, step in zip(unit.ops[1:], steps, strict=True))
        few = graph.weights[head.weight].shape[0] <= MOST_OUTPUTS
        alone = readers[before.value] == 1 and before.value not in outputs and (
            unit.value in outputs and readers[unit.value] == 1)
        if plain and few and alone and _is_plain(graph, first) and _is_plain(graph, head):
            unit.fold = Fold(first, head, shuffle.factor)
            unit.source, unit.shuffle = before.source, shuffle.factor
            units = [each for each in units if each is not before]
    return units


def _is_plain(graph: Graph, op: Conv) -> bool:
    kernel = graph.weights[op.weight].shape[2]
    return not op.transposed and op.groups == 1 and op.stride == (1, 1) and kernel == 3 and op.padding == (1, 1)


def folded(one: Fold, weight: Callable[[str], torch.Tensor]) -> tuple[Read, Read]:
    """Functions that return the weight (outputs · factor², inputs, 5, 5) and the bias of the one convolution.

    Output pixel factor·q + i of the second convolution reads, by its tap t, the pixel j of q + d of the shuffled map,
    where i + t = factor·d + j.
    """
    factor = one.factor

    def kernel() -> torch.Tensor:
        inner, outer = weight(one.first.weight).double(), weight(one.second.weight).double()
        outputs, between = outer.shape[:2]
        inner = inner.view(between, factor, factor, inner.shape[1], 3, 3)
        whole = torch.zeros(outputs, factor, factor, inner.shape[3], 5, 5, dtype=torch.float64)
        for i, j, (y, t), (x, s) in _taps(factor):
            (dy, jy), (dx, jx) = divmod(i + t, factor), divmod(j + s, factor)
            whole[:, i, j, :, dy + 1:dy + 4, dx + 1:dx + 4] += torch.einsum(
                'oc,cnyx->onyx', outer[:, :, y, x], inner[:, jy, jx])
        return whole.reshape(-1, inner.shape[3], 5, 5)

    def bias() -> torch.Tensor:
        outer = weight(one.second.weight).double()
        outputs, between = outer.shape[:2]
        first = weight(one.first.bias).double().view(between, factor, factor) if one.first.bias else None
        whole = torch.zeros(outputs, factor, factor, dtype=torch.float64)
        if first is not None:
            for i, j, (y, t), (x, s) in _taps(factor):
                whole[:, i, j] += outer[:, :, y, x] @ first[:, (i + t) % factor, (j + s) % factor]
        if one.second.bias:
            whole += weight(one.second.bias).double().view(-1, 1, 1)
        return whole.reshape(-1)

    return kernel, bias


def _taps(factor: int) -> list[tuple[int, int, tuple[int, int], tuple[int, int]]]:
    taps = [(0, -1), (1, 0), (2, 1)]
    return [(i, j, y, x) for i in range(factor) for j in range(factor) for y in taps for x in taps]


def mend(graph: Graph, unit: Unit, weights: run_by_torch.Weights, source: torch.Tensor, picture: torch.Tensor) -> None:
    """Compute the outermost pixels of a picture as the network does, in place.

    Args:
        source: (channels, height, width), what the first convolution reads; a view, of which the border is read.
        picture: (outputs, factor·height, factor·width).
    """
    for dim in (1, 2):
        for end in (0, -1):
            size = source.shape[dim]
            near = source.narrow(dim, 0 if end == 0 else max(size - 2, 0), min(2, size))
            row = _strip(graph, unit, weights, near.float()[None], dim + 1, end, size < 2)
            picture.select(dim, end).copy_(row.select(dim + 1, end)[0])


def _strip(graph: Graph, unit: Unit, weights: run_by_torch.Weights, x: torch.Tensor, dim: int, end: int,
           both: bool) -> torch.Tensor:
    one: Any = unit.fold
    pads = [1, 1, 1, 1]  # left, right, top, bottom: on the inner side the strip ends, and zeros would be wrong
    if not both:
        pads[(3 - dim) * 2 + (1 if end == 0 else 0)] = 0
    for conv in (one.first, one.second):
        bias = weights.get(conv.bias)
        x = F.conv2d(F.pad(x, pads), weights[conv.weight].float(), None if bias is None else bias.float())
        x = F.pixel_shuffle(x, one.factor) if conv is one.first else x
    values: Any = {unit.ops[0] + 1: x}
    for number in unit.ops[1:]:
        values[number + 1] = run_by_torch.call(graph.ops[number], values, weights, (1, *x.shape[2:]), x)
    return values[unit.value]
