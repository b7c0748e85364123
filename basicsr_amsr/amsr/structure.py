"""Finds the residual blocks of a network that has no adapter."""
from __future__ import annotations

from torch import nn

from basicsr_amsr.backbones.skips import Skip, SkipUnit
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.reading import read_block


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
            block = read_block(module)
        except Unreadable:
            continue
        if block.is_residual:
            found[path] = SkipUnit(block)
    return dict(reversed(found.items()))
