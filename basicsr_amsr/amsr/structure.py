"""Finds the residual blocks of a network that has no adapter."""
from __future__ import annotations

from torch import nn

from basicsr_amsr.backbones.skips import Skip, SkipUnit
from basicsr_amsr.execution.fusion import is_sum
from basicsr_amsr.execution.graph.ops import Arithmetic, BatchNorm, Graph, Pointwise
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.torch_sparse.unit import read_unit


def residual_blocks(net: nn.Module) -> dict[str, Skip]:
    """The innermost modules that add their input to what their convolutions make of it, by path.

    A block is found if it is a module with a `forward` of its own that takes one tensor and consists of convolutions
    that keep height and width, pointwise functions, concatenations and averages over the image (channel attention). The
    network itself is none: what a long skip spans is left dense, and so is a residual connection that is made outside
    the module.
    """
    found: dict[str, Skip] = {}
    for path, module in reversed(list(net.named_modules())):  # inner modules come after those that hold them
        if not path or not list(module.children()) or any(inner.startswith(f'{path}.') for inner in found):
            continue
        try:
            unit = read_unit(module)
        except Unreadable:
            continue
        if is_residual(unit.graph):
            found[path] = SkipUnit(unit)
    return dict(reversed(found.items()))


def is_residual(graph: Graph) -> bool:
    """Whether the input itself is added near the end, before activations and scalings at most."""
    value = graph.output
    while value:
        op = graph.ops[value - 1]
        if is_sum(op):
            return 0 in op.inputs and op.inputs != (0, 0)
        if not isinstance(op, Pointwise | Arithmetic | BatchNorm) or len(op.inputs) != 1:
            return False
        value = op.inputs[0]
    return False
