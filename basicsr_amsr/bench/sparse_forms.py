"""The sparse forms of a network, which differ in what they skip."""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from basicsr_amsr.amsr.budget import count_costs
from basicsr_amsr.amsr.calibration.calibrated_network import goes_native
from basicsr_amsr.amsr.decision import window_sizes
from basicsr_amsr.bench.contenders import EAGER, NATIVE, Contender, Equality, Forward
from basicsr_amsr.bench.dense import has_native_parts
from basicsr_amsr.bench.grid import Amount, Grid
from basicsr_amsr.bench.views import View, amsr_view, mga_view
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.mga.halo_patches import grid_size
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import variant_of

Shape = tuple[int, int, int]  # channels, height, width of the images
TRIED = 0.5  # share at which the reference is compared where none is fixed


def sparse_forms(net: Any, dense: nn.Module, grid: Grid, shape: Shape) -> list[Contender]:
    """Every sparse form that the grid asks for.

    Args:
        net: one that selects, on its device and in its dtype. dense: its dense form.
        grid: for MGA the amounts alone; its patches are an option of the network, as windows are.
        shape: of the images that will be measured.

    Raises:
        UserError: a combination that the network's options do not allow, or a budget that is too small.
    """
    if any(amount.kind == 'keep_by_level' for amount in grid.amounts) and getattr(net, 'calibrated', None) is None:
        raise UserError('--keep-by-level is of the patches to which a network was calibrated: name option files of '
                        'networks with network_g: calibration, or give --keep.')
    if getattr(net, 'native', None) is not None:  # nothing of it can be skipped
        return []
    return list(mga_forms(net, grid, shape) if isinstance(net, MGA) else amsr_forms(net, dense, grid, shape))


def amsr_forms(net: Any, dense: nn.Module, grid: Grid, shape: Shape) -> Iterator[Contender]:
    """The sparse forms of a network converted by `accelerate_`."""
    window, calibrated = next(iter(window_sizes(net)), None), net.calibrated is not None
    patch_sizes = (window,) if window else grid.patch_sizes or (net.amsr.selection.patch_size,)
    named = net.amsr.backend
    first = next(net.parameters())
    usual = backend_for(named, first.device).name if named == 'auto' else named
    native = goes_native(net.amsr, first) and not grid.backends and not window
    native = native and (calibrated
                         or (net.units is not None and all(patch_size % PATCH == 0 for patch_size in patch_sizes)))
    backends = (EAGER,) if window else grid.backends or (usual,)
    layout: Literal['NCHW', 'channels-last'] = 'NCHW' if native else 'channels-last'
    for patch_size in patch_sizes:
        costs = count_costs(net, patch_size, *shape)
        cells = min((number for number, _ in costs.grids), default=math.prod(grid_size(*shape[1:], patch_size)))
        for amount in grid.amounts:
            for backend in backends:
                view = View('amsr', layout, amount, patch_size, 'auto' if native else backend)
                own = view.of(net)
                keep = fixed_keep(own, amount, shape)
                tried = Amount('keep', TRIED if keep is None else keep)
                full = amsr_view(net, Amount('keep', 1.0), patch_size, view.backend)
                masked = amsr_view(net, tried, patch_size, view.backend, mode='dense_masked')
                equalities = (
                    Equality('the dense network where all is active', full, dense),
                    Equality('the dense-masked reference', amsr_view(net, tried, patch_size, view.backend), masked))
                form = f'windows {patch_size}' if window else form_name(patch_size, calibrated)
                by = NATIVE if native else backend
                yield Contender(form, by, 'sparse', view, own, keep=keep, slack=0.5 / cells,
                                most_macs=limit(amount, costs.dense), equalities=equalities)
                if grid.auto:  # what it chooses among is compared already
                    either = dataclasses.replace(view, mode='auto')
                    yield Contender(f'auto, {form}', by, 'auto', either, either.of(net), keep=None)


def fixed_keep(view: Any, amount: Amount, shape: Shape) -> float | None:
    """The share of patches that a network computes of every image of this shape.

    None for a level, and for a calibrated network with a budget: how many patches that allows depends on where they
    are.

    Raises:
        UserError: the budget is too small.
    """
    if amount.kind == 'keep_by_level':
        return None
    if view.calibrated is not None and amount.kind == 'budget':
        view.calibrated.patches(view, torch.zeros(1, *shape), view.amsr)  # refuses a budget that is too small
        return None
    return float(view.selection_for(torch.empty(1, *shape, device='meta')).keep)


def limit(amount: Amount, dense: int) -> float:
    """MACs that a budget allows."""
    return amount.value * dense if amount.kind == 'budget' else math.inf


def form_name(patch_size: int, calibrated: bool) -> str:
    """'pixels', 'patches 8', 'patches 8, calibrated'."""
    return (f'patches {patch_size}' if patch_size > 1 else 'pixels') + (', calibrated' if calibrated else '')


def mga_forms(net: MGA, grid: Grid, shape: Shape) -> Iterator[Contender]:
    """The sparse forms of a mask-guided network."""
    _, height, width = shape
    rows, cols = grid_size(height, width, net.patch_size)
    native = not grid.backends and next(net.parameters()).device.type == 'cpu' and has_native_parts(net)
    every = mga_view(net, Amount('keep', 1.0))
    for amount in grid.amounts:
        view = View('mga', amount=amount, patch_size=net.patch_size, backend='auto' if native else EAGER)
        own: Any = view.of(net)
        keep = own.fixed_k(height, width) / (rows * cols)
        fixed = mga_view(net, Amount('keep', keep))
        equalities = (Equality('variant A where all patches are selected', every, variant_of(net, 'A')),
                      Equality("the selected patches of variant A on B's image", fixed, patchwork(fixed)))
        yield Contender(f'patches {net.patch_size}', NATIVE if native else EAGER, 'sparse', view, own, keep=keep,
                        most_macs=limit(amount, net.costs(height, width).dense), equalities=equalities)


def patchwork(view: Any) -> Forward:
    """M from A and B: refined where its mask selects."""
    refined, coarse = variant_of(view, 'A'), variant_of(view, 'B')

    def forward(x: torch.Tensor) -> torch.Tensor:
        active = view.active_pixels(x)[:, None]
        for dim in (2, 3):
            active = active.repeat_interleave(view.scale, dim)
        return torch.where(active, refined(x), coarse(x))

    return forward
