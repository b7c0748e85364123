"""How many patches a calibrated network may compute in an image for a share of the dense network's MACs."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr.execution.cost.largest_within import largest_within
from basicsr_amsr.execution.counter import MacCounter, meta_twin
from basicsr_amsr.execution.graph.ops import Conv
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.patches import Patches
from basicsr_amsr.execution.torch_sparse.prediction import Prediction
from basicsr_amsr.execution.torch_sparse.sparse_program import Program


@dataclass(frozen=True)
class CalibratedCosts:
    """MACs of a calibrated network for one image of one size.

    Attributes:
        dense: of the plain network.
        always: of what is computed everywhere, whatever the mask.
        active: of an active pixel (anchor), skipped: of any other, band: of one near to active ones, beside.
        halo: how near.
    """

    dense: int
    always: int
    active: int
    skipped: int
    band: int
    halo: int

    def of(self, patches: torch.Tensor, size: int, height: int, width: int) -> int:
        """MACs of one image with these active patches, bool (rows, cols); patches at the border are computed whole."""
        layout = Layout(patches[None], size, height, width, self.halo)
        rest = Patches(~layout.host, size, height, width, layout.device).count * size**2
        return (self.always + self.active * layout.rows(1) + self.skipped * rest + self.band * layout.band_pixels)

    def within(self, budget: float, score: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
        """The patches of the largest scores (rows, cols) that cost at most `budget` times the dense network.

        Raises:
            UserError: even without any patch it costs more.
        """
        order = score.flatten().argsort(descending=True, stable=True)

        def first(count: int) -> torch.Tensor:
            patches = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
            patches[order[:count]] = True
            return patches.view(score.shape)

        return first(largest_within(
            budget, self.dense, lambda count: self.of(first(count), size, height, width), score.numel(),
            f'of a {height}x{width} image without any patch: give more.'))


def count_calibrated(program: Program, net: nn.Module, prediction: Prediction, channels: int, height: int,
                 width: int) -> CalibratedCosts:
    """Count a network for images of that size; on meta tensors, and no counter around it sees it."""
    with _disable_current_modes(), torch.no_grad(), MacCounter() as counter:
        twin = meta_twin(net)
        plain = getattr(type(twin), 'plain_class', type(twin))
        plain.forward(twin, torch.empty(1, channels, height, width, device='meta'))
    graph = program.graph
    active = sum(graph.weights[op.weight].numel() * program.scale(value)**2 for value, op in enumerate(graph.ops, 1)
                 if isinstance(op, Conv) and program.form(value) == 'rows')
    near = {value: affine.macs for value, affine in prediction.contexts.items()}
    everywhere = sum(near[value] for value in program.everywhere)
    tail = prediction.tail
    skipped = everywhere + (tail.image.numel() + tail.feature.macs if tail else 0)
    band = sum(near[value] for value, reach in program.contexts.items() if max(reach) > 0)
    return CalibratedCosts(counter.macs, counter.macs - active * height * width, active, skipped, band, program.halo)
