"""Counts one call of a network, by the convention of `execution.counter`, and what the MGA paper counts besides."""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.counter import MacCounter, Tally
from basicsr_amsr.profiling.conventions import paper_extra, paper_ignored


@dataclass(frozen=True)
class Count:
    """What one call of a network costs.

    Attributes:
        macs: true multiply-accumulates.
        macs_paper: by the MGA paper's counter.
        params: elements of all parameters.
        activations: elements that convolutions wrote. convolutions: how many ran.
        by_op: operator name to its calls and costs; transposed convolutions stand apart.
        by_module: dotted module path to the costs of the module and all below it ('' is the network); `calls` counts
            operators there, views apart. Modules in which nothing ran are missing.
        uncounted: operators without a handle, with calls, elements written and the reason.
        free: operators that cost nothing by convention, likewise.
    """

    macs: int
    macs_paper: int
    params: int
    activations: int = 0
    convolutions: int = 0
    by_op: Mapping[str, Tally] = field(default_factory=dict)
    by_module: Mapping[str, Tally] = field(default_factory=dict)
    uncounted: Mapping[str, Tally] = field(default_factory=dict)
    free: Mapping[str, Tally] = field(default_factory=dict)


def parameter_count(net: nn.Module) -> int:
    """Elements of all parameters, shared ones once."""
    return sum(parameter.numel() for parameter in net.parameters())


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Inside, every module of `net` is in eval mode; afterwards as it was."""
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def plain_operators() -> Iterator[None]:
    """Inside, compiled modules run eagerly and attention layers take no fused shortcut, so that operators are seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # Where dynamo was never imported nothing can be compiled, and importing it takes seconds.
    stance: AbstractContextManager[Any] = nullcontext()
    if 'torch._dynamo' in sys.modules:
        stance = torch.compiler.set_stance('force_eager')
    try:
        with stance:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(net: nn.Module, *inputs: Any, exclude: Sequence[str] = (), **kwargs: Any) -> Count:
    """Count one call `net(*inputs, **kwargs)` in eval mode, without gradient, on whatever device the tensors are.

    Args:
        net: the network; its modes and hooks are as before afterwards. Compiled modules are counted as if they were
            not compiled.
        inputs, kwargs: what it is called with; meta tensors with a network on the meta device cost no arithmetic.
        exclude: further module paths that `macs_paper` leaves out, beside those of conventions.py.

    Raises:
        UserError: `net` is a TorchScript module, or a path in `exclude` is none of its modules.
    """
    net = getattr(net, '_orig_mod', net)
    if isinstance(net, torch.jit.ScriptModule):
        raise UserError('A TorchScript module may fuse operators and cannot be counted; count the eager network.')
    known = dict(net.named_modules())
    for path in exclude:
        if path not in known:
            raise UserError(f"exclude: '{path}' is no module of {type(net).__name__}.")
    counter = MacCounter([*paper_ignored(net), *exclude])
    with (torch.no_grad(), evaluating(net), plain_operators(), counter.track(net), counter,
          paper_extra(net, counter.for_the_paper)):
        net(*inputs, **kwargs)
    total = counter.total
    return Count(total.macs, total.macs_paper, parameter_count(net), total.activations, total.convolutions,
                 counter.by_op, counter.by_module, counter.uncounted, counter.free)
