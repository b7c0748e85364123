"""Counts the arithmetic of a network while it runs, for budgets."""
from __future__ import annotations

from typing import Any

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
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.macs += formula(*args, **(kwargs or {}), out_val=result) // 2
        return result
