"""Whether an accelerated network skips, or computes everything because that is faster on this machine."""
from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
from typing import Any

import torch

from basicsr_amsr.amsr.twin import twin_of
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.costs import Costs, Form
from basicsr_amsr.execution.cost.measure import Probe
from basicsr_amsr.execution.cost.model import Subject
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.native.selection import tiles
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def form_for(net: Any, x: torch.Tensor, share: float) -> Form:
    """How images `x` are processed fastest of which that share would be computed.

    Fixed thresholds for each size decide, whatever ran before, so an image's result does not depend on its
    predecessors.

    Args:
        net: a converted network.
        x: (B, C, H, W), the LR images.
        share: active tiles or windows over all; over nothing no costs are asked.

    Returns:
        'sparse'; or 'dense', the plain network.
    """
    if share <= 0:
        return 'sparse'
    costs = costs_of(net, x)
    if costs is None:
        return 'sparse' if share < 1 else 'dense'
    return costs.form(share)


def measure_costs(net: Any, x: torch.Tensor) -> Costs | None:
    """What the forms of a converted network cost on this machine, before the first image asks.

    Args:
        net: the network, as it will be used: device, dtype, memory format, threads.
        x: LR images (B, C, H, W) like those that will come. As much of them is measured as time allows.

    Returns:
        None where they cannot be measured, which the log says.

    Raises:
        UserError: the network is not converted by `accelerate_`.
    """
    if not hasattr(net, 'amsr'):
        raise UserError(f'{type(net).__name__} is not accelerated: there are no costs to compare.')
    with torch.no_grad():
        return costs_of(net, x) if model.decides(x) else None


def costs_of(net: Any, x: torch.Tensor) -> Costs | None:
    """The costs of a network for images `x`; of a replica of DataParallel none, as several run at a time."""
    return None if getattr(net, '_is_replica', False) else model.MODEL.costs(
        subject_of(net, x.device), x, Probes(net, x))


def share_of(net: Any, x: torch.Tensor) -> float:
    """The share of tiles or windows that a network without calibration computes of images `x`."""
    selection = net.selection_for(x)
    fixed = getattr(selection, 'ratio', None)
    if fixed is not None:
        return float(fixed)
    windows = window_sizes(net)
    wide: Any = dataclasses.replace(selection, tile=windows[0]) if windows else selection
    return float(tiles(wide, x.detach()).float().mean())


def window_sizes(net: Any) -> list[int]:
    """Sides of the attention windows that a converted network skips."""
    return [module.window_size for module in net.modules() if {'skip', 'window_size'} <= vars(module).keys()]


def subject_of(net: Any, device: torch.device) -> Subject:
    """A name and all of a converted network that its time on a device depends on: structure, and how it skips."""
    if net.structure is None:
        net.structure = structure_of(net)
    config, layout = net.amsr, next((p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters()
                                     if p.dim() == 4), None)
    selection, backend = config.selection, type(backend_for(config.backend, device)).__name__
    loaded = library() if net.region is not None and config.backend == 'auto' and device.type == 'cpu' else None
    if loaded is not None:
        backend = f'native, {loaded.isa}'
    how = (config.inside, config.unit, backend, selection.tile, getattr(selection, 'smooth', None), layout)
    return Subject(f'AMSR {net.plain_class.__name__}', f'{net.structure} {how}')


def structure_of(net: Any) -> str:
    """A hash of a converted network's modules, of which of them skip, and of what predictions cost."""
    skips = [(path, type(module.skip).__name__) for path, module in net.named_modules() if 'skip' in vars(module)]
    shapes = [(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()]
    predicted: Any = None
    if net.region is not None:
        contexts, tail = net.region.prediction.contexts, net.region.prediction.tail
        predicted = ([(value, tuple(affine.weight.shape), affine.macs) for value, affine in sorted(contexts.items())],
                     tail and (tuple(tail.image.shape), tuple(tail.feature.weight.shape)))
    text = repr((net.plain_class.__module__, net.plain_class.__qualname__, repr(net), shapes, skips, predicted))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Probes:
    """Makes probes of a converted network from the images that ask, so that masks are like theirs.

    Args:
        net: the network. What runs is a copy that shares its weights and has no hooks: nobody sees it run.
        x: (B, C, H, W), the images.
    """

    def __init__(self, net: Any, x: torch.Tensor) -> None:
        self.net, self.x = net, x

    def __call__(self, area: int) -> Probe:
        """The middle of the first image, or as many whole images, with about that many pixels."""
        net, x = self.net, self._cut(area)
        selection = net.amsr.selection
        twin = twin_of(net)
        dense = copy.copy(twin)
        dense.amsr = dataclasses.replace(net.amsr, mode='dense')
        views: dict[float, Any] = {}

        def sparse(ratio: float) -> float:
            if ratio not in views:
                mask = HighFrequencyMask(ratio=ratio, tile=selection.tile, smooth=getattr(selection, 'smooth', 1))
                views[ratio] = copy.copy(twin)
                views[ratio].amsr = dataclasses.replace(net.amsr, selection=mask, budget=None, mode='sparse')
            views[ratio](x)
            return float(views[ratio].last_mask_ratio)

        return Probe(x.shape[0] * x.shape[2] * x.shape[3], lambda: dense(x), sparse)

    def _cut(self, area: int) -> torch.Tensor:
        x = self.x.detach()
        height, width = x.shape[-2:]
        if area >= height * width:
            return x[:area // (height * width)]
        step = max(8, self.net.amsr.selection.tile)  # whole tiles, and windows, as most of a large image has
        rows = min(height, max(step, round(height * math.sqrt(area / (height * width)) / step) * step))
        cols = min(width, max(step, round(area / rows / step) * step))
        top, left = (height - rows) // 2, (width - cols) // 2
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return x[:1, :, top:top + rows, left:left + cols].contiguous(memory_format=layout)
