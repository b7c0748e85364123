"""The sparse forms of a network, which differ in what they skip."""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from basicsr_amsr.amsr.budget import count_costs
from basicsr_amsr.amsr.calibration.region import goes_native
from basicsr_amsr.amsr.decision import window_sizes
from basicsr_amsr.bench.contenders import EAGER, NATIVE, Contender, Equality, Forward
from basicsr_amsr.bench.grid import Amount, Grid
from basicsr_amsr.bench.views import View, patch_view, tile_view
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.patches import grid_size
from basicsr_amsr.profiling.profile import variant_of

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
    if any(amount.kind == 'share' for amount in grid.amounts) and getattr(net, 'region', None) is None:
        raise UserError('--share is of the tiles to which a network was calibrated: name option files of networks with '
                        'network_g: calibration, or give --ratio.')
    if getattr(net, 'native', None) is not None:  # nothing of it can be skipped
        return []
    return list(patch_forms(net, grid, shape) if isinstance(net, MGA) else tile_forms(net, dense, grid, shape))


def tile_forms(net: Any, dense: nn.Module, grid: Grid, shape: Shape) -> Iterator[Contender]:
    """Of a network converted by `accelerate_`."""
    window, calibrated = next(iter(window_sizes(net)), None), net.region is not None
    tiles = (window,) if window else grid.tiles or (net.amsr.selection.tile,)
    named = net.amsr.backend
    first = next(net.parameters())
    usual = backend_for(named, first.device).name if named == 'auto' else named
    native = calibrated and goes_native(net.amsr, first) and not grid.backends
    backends = (EAGER,) if window else grid.backends or (usual,)
    layout: Literal['NCHW', 'channels-last'] = 'NCHW' if native else 'channels-last'
    insides = (None,) if window or calibrated else grid.insides or (net.amsr.inside,)
    for tile in tiles:
        costs = count_costs(net, tile, *shape)
        cells = min((number for number, _ in costs.grids), default=math.prod(grid_size(*shape[1:], tile)))
        for inside in insides:
            for amount in grid.amounts:
                for backend in backends:
                    view = View('tiles', layout, amount, tile, inside, 'auto' if native else backend)
                    own = view.of(net)
                    share = fixed_share(own, amount, shape)
                    ratio = Amount('ratio', TRIED if share is None else share)
                    full = tile_view(net, Amount('ratio', 1.0), tile, inside, view.backend)
                    masked = tile_view(net, ratio, tile, inside, view.backend, mode='dense_masked')
                    equalities = (
                        Equality('the dense network where all is active', full, dense),
                        Equality('the dense-masked reference', tile_view(net, ratio, tile, inside, view.backend),
                                 masked))
                    form = f'windows {tile}' if window else form_name(tile, inside or 'calibrated')
                    by = NATIVE if native else backend
                    yield Contender(form, by, 'sparse', view, own, share=share, slack=0.5 / cells,
                                    most_macs=limit(amount, costs.dense), equalities=equalities)
                    if grid.auto:  # what it chooses among is compared already
                        either = dataclasses.replace(view, mode='auto')
                        yield Contender(f'auto, {form}', by, 'auto', either, either.of(net), share=None)


def fixed_share(view: Any, amount: Amount, shape: Shape) -> float | None:
    """The share of tiles that a network computes of every image of this shape.

    None for a level, and for a calibrated network with a budget: how many tiles that allows depends on where they are.

    Raises:
        UserError: the budget is too small.
    """
    if amount.kind == 'share':
        return None
    if view.region is not None and amount.kind == 'budget':
        view.region.tiles(view, torch.zeros(1, *shape), view.amsr)  # refuses a budget that is too small
        return None
    return float(view.selection_for(torch.empty(1, *shape, device='meta')).ratio)


def limit(amount: Amount, dense: int) -> float:
    """MACs that a budget allows."""
    return amount.value * dense if amount.kind == 'budget' else math.inf


def form_name(tile: int, way: str) -> str:
    """'pixels, exact', 'tiles 8, masked', 'tiles 8, calibrated'."""
    return f'{f"tiles {tile}" if tile > 1 else "pixels"}, {way}'


def patch_forms(net: MGA, grid: Grid, shape: Shape) -> Iterator[Contender]:
    """Of a mask-guided network."""
    _, height, width = shape
    rows, cols = grid_size(height, width, net.patch_size)
    every = patch_view(net, Amount('ratio', 1.0))
    for amount in grid.amounts:
        view = View('patches', amount=amount, tile=net.patch_size)
        own: Any = view.of(net)
        share = own.fixed_k(height, width) / (rows * cols)
        fixed = patch_view(net, Amount('ratio', share))
        equalities = (Equality('variant A where all patches are selected', every, variant_of(net, 'A')),
                      Equality("the selected patches of variant A on B's image", fixed, patchwork(fixed)))
        yield Contender(f'patches {net.patch_size}', EAGER, 'sparse', view, own, share=share,
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
