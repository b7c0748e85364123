"""Whether an accelerated network skips, or computes everything because that is faster on this machine."""
from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch

from basicsr_amsr.amsr.calibration.calibrated_network import goes_native
from basicsr_amsr.amsr.identity import subject_of
from basicsr_amsr.amsr.twin import twin_of
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.costs import Costs, Form
from basicsr_amsr.execution.cost.measure import Probe
from basicsr_amsr.execution.native.selection import patches
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def form_for(net: Any, x: torch.Tensor, keep: float) -> Form:
    """The faster form for images `x` of which skipping computes the share `keep`.

    Fixed thresholds for each size decide, whatever ran before, so an image's result does not depend on its
    predecessors.

    Args:
        net: a converted network.
        x: (B, C, H, W), the LR images.
        keep: active patches or windows over all of them; 0 is always sparse, without looking at costs.

    Returns:
        'sparse'; or 'dense', the network as a whole, by whatever engine `net.whole` takes.
    """
    if keep <= 0:
        return 'sparse'
    costs = costs_of(net, x)
    if costs is None:
        return 'sparse' if keep < 1 else 'dense'
    form = costs.form(keep)
    if form == 'sparse' and net.whole.is_faster(net, x, costs.sparse(keep) * model.area_of(x)):
        return 'dense'
    return form


def measure_costs(net: Any, x: torch.Tensor) -> Costs | None:
    """Measures a converted network's dense and sparse form on this machine, so that the first image need not wait.

    Where OpenVINO is the fastest, it is also prepared for the size of `x`.

    Args:
        net: the network, as it will be used: device, dtype, memory format, threads.
        x: LR images (B, C, H, W) like those that will come. As much of them is measured as time allows.

    Returns:
        Costs of both forms. None where they cannot be measured, which the log says, and where nothing is skipped.

    Raises:
        UserError: the network is not converted by `accelerate_`.
    """
    if not hasattr(net, 'amsr'):
        raise UserError(f'{type(net).__name__} is not accelerated: there are no costs to compare.')
    with torch.no_grad():
        if not model.decides(x):
            return None
        net.whole.settle(net, x)
        return None if net.amsr.mode == 'dense' else costs_of(net, x)


def costs_of(net: Any, x: torch.Tensor) -> Costs | None:
    """The costs of a network for images `x`; None for a replica of DataParallel, which runs beside others."""
    return None if getattr(net, '_is_replica', False) else model.MODEL.costs(
        subject_of(net, x.device), x, Probes(net, x))


def keep_of(net: Any, x: torch.Tensor) -> float:
    """The share of patches or windows that a network without calibration computes of images `x`."""
    selection = net.selection_for(x)
    fixed = getattr(selection, 'keep', None)
    if fixed is not None:
        return float(fixed)
    windows = window_sizes(net)
    wide: Any = dataclasses.replace(selection, patch_size=windows[0]) if windows else selection
    return float(patches(wide, x.detach()).float().mean())


def window_sizes(net: Any) -> list[int]:
    """Sides of the attention windows that a converted network skips."""
    return [module.window_size for module in net.modules() if {'skip', 'window_size'} <= vars(module).keys()]


class Probes:
    """Makes probes of a converted network from the images that ask, so that masks are like theirs.

    Args:
        net: the network. What runs is a copy that shares its weights and has no hooks: nobody sees it run.
        x: (B, C, H, W), the images.
    """

    def __init__(self, net: Any, x: torch.Tensor) -> None:
        self.net, self.x = net, x

    def __call__(self, area: int) -> Probe:
        """A probe of about that many pixels: the middle of the first image, or several images if they are small."""
        net, x = self.net, self._cut(area)
        selection = net.amsr.selection
        twin = twin_of(net)
        dense = copy.copy(twin)
        if goes_native(net.amsr, x):
            dense.amsr = dataclasses.replace(net.amsr, mode='dense', backend='native')
        else:
            dense.set_variant('D')
        views: dict[float, Any] = {}

        def sparse(keep: float) -> float:
            if keep not in views:
                mask = HighFrequencyMask(keep=keep, patch_size=selection.patch_size,
                                         smooth=getattr(selection, 'smooth', 1))
                views[keep] = copy.copy(twin)
                views[keep].amsr = dataclasses.replace(net.amsr, selection=mask, budget=None, mode='sparse')
            views[keep](x)
            return float(views[keep].last_keep)

        return Probe(x.shape[0] * x.shape[2] * x.shape[3], lambda: dense(x), sparse)

    def _cut(self, area: int) -> torch.Tensor:
        x = self.x.detach()
        height, width = x.shape[-2:]
        if area >= height * width:
            return x[:area // (height * width)]
        step = max(8, self.net.amsr.selection.patch_size)  # whole patches, and windows, as most of a large image has
        rows = min(height, max(step, round(height * math.sqrt(area / (height * width)) / step) * step))
        cols = min(width, max(step, round(area / rows / step) * step))
        top, left = (height - rows) // 2, (width - cols) // 2
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return x[:1, :, top:top + rows, left:left + cols].contiguous(memory_format=layout)
