"""Sparse execution of a unit: gather, compute, write back, by the backend that is named."""
from __future__ import annotations

import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.active import ActivePatches, pixel_rows
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.fusion import fused, readers_of
from basicsr_amsr.execution.plan import Plan
from basicsr_amsr.execution.rows import Rows
from basicsr_amsr.execution.unit import Unit


@torch.no_grad()
def run_unit(unit: Unit, x: torch.Tensor, active: ActivePatches, out: torch.Tensor | None = None,
             backend: str = 'torch') -> torch.Tensor:
    """The unit on the active patches or pixels: equals `dense_masked` with their mask. For inference only.

    Where all are active the dense unit runs; where none is, nothing does.

    Args:
        unit: what is computed.
        x: (B, C, H, W), best channels-last; it is not changed.
        active: which patches (size > 1) or pixels (size 1), of the size of x.
        out: (B, C, H, W) channels-last, to write the active pixels into: what its other pixels hold is what skipped
            pixels get (a map found by calibration, or x itself in a second buffer that saves copying it). Not x.
        backend: 'torch', 'triton' or 'auto', see `backend_for`. For Triton make `active` with `whole`.

    Returns:
        `out`, else a copy of x with the active pixels computed (x itself where none is active).

    Raises:
        UserError: x has another size than the active patches, `out` is not channels-last, or the backend does not run
            here.
    """
    if (len(active.patches), active.height, active.width) != (len(x), *x.shape[-2:]):
        raise UserError(f'x is {tuple(x.shape)}, but the active patches are those of {len(active.patches)} maps of '
                        f'{active.height}x{active.width}.')
    if out is not None and not out.is_contiguous(memory_format=torch.channels_last):
        raise UserError(f'out {tuple(out.shape)} is not channels-last: nothing can be written into it.')
    engine = backend_for(backend, x.device)
    if not active.count:
        return x if out is None else out
    if active.full:
        return unit.dense(x) if out is None else out.copy_(unit.dense(x))
    x = x.contiguous(memory_format=torch.channels_last)
    if out is None:
        out = x.clone(memory_format=torch.channels_last)
    _stage_by_stage(Rows(Plan(unit), x, active, {}, engine), out)
    return out


def _stage_by_stage(rows: Rows, out: torch.Tensor) -> None:
    """Inner values are kept for the pixels at which they are needed, as lists with a row of zeros at the end."""
    plan, nodes, target = rows.plan, rows.plan.unit.nodes, pixel_rows(out)
    last, calls, readers = len(nodes), [node.call for node in nodes], readers_of(nodes)
    for stage in plan.stages:
        if plan.of_image[stage[0]]:
            for value in stage:
                rows.stored[value] = rows.compute_image(value)
            continue
        kept = [value for value in stage if value != last and plan.read_later(value, stage)]
        steps = fused(stage, nodes, calls, readers, kept)
        for number, own in enumerate(rows.active.own()):
            rows.start_chunk(number, own)
            for step in steps:
                rows.run(step, step.value in kept, (target, own) if step.value == last else None)
