"""Counts the arithmetic of a network while it runs, for budgets."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from basicsr_amsr.execution.operator_costs import HANDLES, bind


class ConvolutionCounter(TorchDispatchMode):
    """Adds up the true MACs of operators, those of `basicsr profile`, as `operator_costs` has them."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        handle = HANDLES.get(func._schema.name)
        if handle is not None:
            self.macs += handle(bind(func, args, kwargs or {}), result).macs
        return result


def meta_twin(net: nn.Module) -> Any:
    """A copy of a network on meta tensors, in single precision and evaluation mode, to count without arithmetic."""
    return copy.deepcopy(net, {id(tensor): _on_meta(tensor) for tensor in (*net.parameters(), *net.buffers())}).eval()


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape in single precision, a parameter where it was one."""
    empty = torch.empty_like(tensor, device='meta', dtype=torch.float32 if tensor.is_floating_point() else None)
    return nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
