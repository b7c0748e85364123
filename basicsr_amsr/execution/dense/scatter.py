"""Convolutions with few outputs as two units: products pixel by pixel, then their sums, so that what they read need not
be a map: at four times the resolution it has hundreds of megabytes."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from basicsr_amsr.execution.dense.units import Half, Unit, reader_counts
from basicsr_amsr.execution.graph.ops import Conv, Graph
from basicsr_amsr.execution.native.check_program import MOST_SCATTERED


def scatter(graph: Graph, units: list[Unit], outputs: set[int], scale_of: Callable[[int], int]) -> list[Unit]:
    """Split where a unit enlarges, and a convolution to a picture alone reads it.

    Args:
        outputs: values that are needed outside. scale_of: pixels a side of a value for each of the image, 0 where it
            lies on another grid.
    """
    readers = reader_counts(graph)
    found: list[Unit] = []
    for unit in units:
        before = found[-1].value if found else 0
        alone = unit.source == before and readers[before] == 1 and before not in outputs
        if alone and _is_last(graph, unit) and scale_of(before) > 1:
            found.append(replace(unit, half=Half.PRODUCTS))
            unit = replace(unit, half=Half.SUMS)
        found.append(unit)
    return found


def _is_last(graph: Graph, unit: Unit) -> bool:
    op = graph.ops[unit.ops[0]]
    if not isinstance(op, Conv) or op.transposed or op.groups > 1 or unit.shuffle * unit.enlarged > 1 or unit.fold:
        return False
    outputs, _, *kernel = graph.weights[op.weight].shape
    return (*kernel, *op.stride, *op.padding) == (3, 3, 1, 1, 1, 1) and outputs <= MOST_SCATTERED
