"""Traces networks by torch.export, which resolves Python's control flow for an image of a size."""
from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError

Forward = Callable[[nn.Module, torch.Tensor], Any]
SMALL = 16  # the side of an image that a network is run on where only what it stores matters
SECONDS = 100.0  # of a processor, after which no further module of a network is traced


class Unreadable(UserError):
    """A network that cannot be read, with the reason, operator and line."""


class Wrapped(nn.Module):
    """A network that runs by its own forward, or by another one that is given."""

    def __init__(self, net: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.net, self.call = net, forward

    def forward(self, x: torch.Tensor) -> Any:
        """The network's result."""
        return self.net(x) if self.call is None else self.call(self.net, x)


def export(net: nn.Module, x: torch.Tensor, forward: Forward | None = None, strict: bool = True) -> tuple[Any, bool]:
    """What a network does to images of a size, and where it can be told for every size.

    Args:
        net: in evaluation mode or not, it is traced in evaluation mode.
        x: an image, of which shape and device matter, and the type where the network has no parameters.
        forward: called as `forward(net, x)` in place of `net(x)`.
        strict: where it cannot be told by running it on shapes, analyse Python's bytecode, then try for the one size.

    Returns:
        The exported program; whether the network sets weights in its forward.

    Raises:
        Unreadable: with what torch.export says, or that it takes longer than `SECONDS`.
    """
    wrapped = Wrapped(net, forward)
    free = {dim: torch.export.Dim.AUTO for dim in (0, 2, 3) if x.shape[dim] > 1}  # 1 would be taken as fixed
    attempts: list[tuple[Any, bool]] = [(free, False), *([(free, True), (None, False)] if strict else [])]
    first: Exception | None = None
    with _quiet(), evaluating(net), torch.inference_mode(False), torch.no_grad():
        for sizes, analyse in attempts:
            # anew, since torch.export marks a tensor whose sizes were free
            example = torch.zeros(x.shape, dtype=weights_type(net, x.dtype), device=x.device)
            try:
                if analyse:  # that keeps what the last run left in tensors that are stored in forward
                    wrapped(example[:, :, :SMALL, :SMALL])
                shapes = None if sizes is None else (sizes,)
                with _unchanged(net), nullcontext() if analyse else _hurried(net):  # strict follows into hooks
                    return torch.export.export(wrapped, (example,), dynamic_shapes=shapes, strict=analyse), analyse
            except Unreadable:
                raise
            except Exception as error:  # whatever a forward raises that is run on shapes
                first = first or error
    raise Unreadable(f'{type(net).__name__} cannot be read: {_reason(first)}') from first


def weights_type(net: nn.Module, image_type: torch.dtype) -> torch.dtype:
    """The type of the network's parameters, which its images must have too; the image's if there are none."""
    return next((each.dtype for each in net.parameters() if each.is_floating_point()), image_type)


@contextmanager
def _hurried(net: nn.Module) -> Iterator[None]:
    """Stops a trace that takes longer than `SECONDS`. For some window transformers it would take many minutes, because
    torch.export checks for thousands of operators what holds for every size."""
    begun = time.thread_time()

    def look(module: nn.Module, given: Any) -> None:
        if time.thread_time() - begun > SECONDS:
            raise Unreadable(f'{type(net).__name__} has too many operators to be read: after {SECONDS:.0f} s the trace '
                             f'was in a {type(module).__name__}.')

    hooks = [module.register_forward_pre_hook(look) for module in net.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _reason(error: Exception | None) -> str:
    """The first line that says something, and where in the network's code it was met."""
    text = [line.strip() for line in str(error).splitlines() if line.strip()]
    frame, place = error.__traceback__ if error else None, ''
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if '/torch/' not in file and file != __file__:
            place = f' ({file}:{frame.tb_lineno})'
        frame = frame.tb_next
    return f'{text[0] if text else type(error).__name__}{place}'


@contextmanager
def _unchanged(net: nn.Module) -> Iterator[None]:
    """Puts the network's tensors back after a trace, which leaves tensors without content in a network that sets its
    weights in forward."""
    data = [(tensor, tensor.data) for tensor in (*net.parameters(), *net.buffers())]
    held = [(module, dict(vars(module))) for module in net.modules()]
    try:
        yield
    finally:
        for module, attributes in held:
            for name in [name for name in vars(module) if name not in attributes]:
                del module.__dict__[name]
            module.__dict__.update(attributes)
        for tensor, values in data:
            tensor.data = values


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, afterwards in the modes that it was in."""
    training = [module for module in net.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
