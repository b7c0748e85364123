"""A unit at the active patches; skipped pixels keep its input. On any device."""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.backends.interface import Place, Read
from basicsr_amsr.execution.fusion import Fused
from basicsr_amsr.execution.gather import pixel_rows
from basicsr_amsr.execution.graph.run_by_torch import average_of_active
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.run import Run
from basicsr_amsr.execution.torch_sparse.unit import Unit
from basicsr_amsr.execution.uncompiled import uncompiled


@uncompiled  # the numbers of patches are data: nothing of it can be traced
@torch.no_grad()
def run_unit(unit: Unit, module: nn.Module, x: torch.Tensor, layout: Layout, backend: str = 'torch') -> torch.Tensor:
    """Equals `unit.masked` with the mask of the active patches, but computes these alone. For inference only.

    Args:
        unit, module: what is computed, and whose weights are taken.
        x: (B, C, H, W), best channels-last; it is not changed.
        layout: the active patches or pixels (size 1) of such maps, without a halo; for Triton made with `whole`.
        backend: 'torch', 'triton' or 'auto', see `backend_for`.

    Returns:
        The unit's result, channels-last; x itself where nothing is active.
    """
    engine = backend_for(backend, x.device)
    if not layout.active:
        return x
    if layout.full:
        return unit.forward(module, x)
    run = _Kept(unit, module, x, layout, engine)
    run.stages()
    return run.result


class _Kept(Run):
    """A pass whose skipped pixels are 0 where convolutions read them, and keep x in the result."""

    def __init__(self, unit: Unit, module: nn.Module, x: torch.Tensor, *args: Any) -> None:
        super().__init__(unit.program, module, x, *args)
        self.residual = unit.residual
        self.skipped = self.maps[0] = pixel_rows(x)
        self.rows: torch.Tensor | None = None

    @property
    def result(self) -> torch.Tensor:
        """The map."""
        assert self.rows is not None
        return self.rows.view(self.batch, *self.x.shape[2:], -1).permute(0, 3, 1, 2)

    def _run(self, each: Fused) -> None:
        """Compute a value as `Run` does, but write the unit's result into the map at once."""
        if each.value != self.program.output:
            super()._run(each)
            return
        own, epilogue = self.layout.own(self.group, self.part), each.epilogue
        plain = self.residual is None or (epilogue.scale == 1 and epilogue.added is None and epilogue.after is None)
        if self.backend.whole and each.conv is not None and plain:  # it reads and writes by the list
            if self.residual is not None:
                epilogue = epilogue._replace(scale=self.residual, added=Read(self.skipped, own))
            self.rows = target = self.skipped.clone()
            self._convolve(each.conv, epilogue, Place(lambda dtype: target, own))
            return
        places, rows = own.placed(self._rows(each).to(self.x.dtype))
        source, begun = (self.skipped, False) if self.rows is None else (self.rows, True)
        if self.residual is None:
            self.rows = (source.index_copy_ if begun else source.index_copy)(0, places, rows)
        else:
            self.rows = (source.index_add_ if begun else source.index_add)(0, places, rows, alpha=self.residual)

    def _whole(self, value: int) -> Any:
        op = self.program.graph.ops[value - 1]
        if self.program.facts[value].kind != 'pool':
            return self._call(value, {i: self.values[i] for i in op.inputs})
        if self.program.form(op.inputs[0]) != 'rows':
            return average_of_active(self.values[op.inputs[0]], self.layout.mask(1))
        rows = self.values[op.inputs[0]]
        total = self.layout.sums(rows, 1, torch.promote_types(rows.dtype, torch.float32))
        return (total / self.layout.pixels).to(rows.dtype)[..., None, None]
