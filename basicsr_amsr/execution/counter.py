"""Counts the arithmetic of a network while it runs, for budgets."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class ConvolutionCounter(TorchDispatchMode):
    """Adds up the true MACs of convolutions and matrix products, by PyTorch's own formulas (two FLOPs each)."""

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # slow to import, and few networks have a budget

        self.formulas = flop_registry
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = self.formulas.get(func._overloadpacket) or self._of_in_place(func._overloadpacket)
        if formula is not None:
            self.macs += formula(*args, **(kwargs or {}), out_val=result) // 2
        return result

    def _of_in_place(self, packet: Any) -> Any:
        """PyTorch has formulas for addmm alone, none for addmm_."""
        name = packet.__name__
        if not name.endswith('_') or name.startswith('_'):
            return None
        return self.formulas.get(getattr(torch.ops.aten, name[:-1], None))


def meta_twin(net: nn.Module) -> Any:
    """A copy of a network on meta tensors, in single precision and evaluation mode, to count without arithmetic."""
    return copy.deepcopy(net, {id(tensor): _on_meta(tensor) for tensor in (*net.parameters(), *net.buffers())}).eval()


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape in single precision, a parameter where it was one."""
    empty = torch.empty_like(tensor, device='meta', dtype=torch.float32 if tensor.is_floating_point() else None)
    return nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
