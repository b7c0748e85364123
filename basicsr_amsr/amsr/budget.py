"""How many patches or windows a budget of MACs allows: solved for each size of image, from counted MACs."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr.backbones.skipping import CURRENT, Skipping
from basicsr_amsr.execution.cost.largest_within import largest_within
from basicsr_amsr.execution.counter import MacCounter, meta_twin
from basicsr_amsr.execution.graph.ops import Conv
from basicsr_amsr.execution.tokens.windows import Layer
from basicsr_amsr.execution.torch_sparse.unit import Unit


class Costs(NamedTuple):
    """What an image costs, and how that grows with the patches that are computed.

    Attributes:
        dense: MACs of the plain network. rest: those of what no mask skips. once: those of channel attention and the
            like, which does not depend on how many pixels are active.
        grids: of each map on which units work the number of patches or windows, and their area over that of the map:
            patches at the border are computed whole.
    """

    dense: int
    rest: int
    once: int
    grids: frozenset[tuple[int, float]]

    def keep_within(self, budget: float) -> float:
        """The largest share of patches with which an image costs at most `budget` times the dense network.

        Raises:
            UserError: even without any patch it costs more.
        """
        if budget >= 1:
            return 1.0
        whole = (self.dense - self.rest - self.once) * max(area for _, area in self.grids)

        def keep(cells: int) -> float:
            def macs(count: int) -> float:
                return self.rest + (count > 0) * self.once + whole * count / cells

            return largest_within(budget, self.dense, macs, cells,
                                  'without any unit: give more, or fewer dense_first.') / cells

        return min(keep(cells) for cells, _ in self.grids)


@dataclass(frozen=True)
class Nothing:
    """A selection without any patch."""

    patch_size: int

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """Inactive patches."""
        return torch.zeros(len(images), *(-(-side // self.patch_size) for side in images.shape[2:]), dtype=torch.bool)

    def windows(self, images: torch.Tensor, size: int, shifts: tuple[int, ...]) -> list[torch.Tensor]:
        """Inactive windows."""
        return [torch.zeros(len(images), *(side // size for side in images.shape[2:]), dtype=torch.bool)] * len(shifts)


class Survey(Skipping):
    """Skips everything, and notes on which grids a mask would be made."""

    def __init__(self, image: torch.Tensor, patch_size: int) -> None:
        super().__init__(image, Nothing(patch_size), differentiable=False)
        self.grids: set[tuple[int, float]] = set()
        self.once_macs = 0

    def run(self, unit: Unit, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The input."""
        patches, side = self.patches(*x.shape[-2:])
        self.grids.add((patches[0].numel(), patches[0].numel() * side**2 / x[0, 0].numel()))
        program = unit.program
        self.once_macs += sum(program.graph.weights[op.weight].numel() for value, op in enumerate(program.graph.ops, 1)
                              if isinstance(op, Conv) and program.form(value) == 'image')
        return x

    def run_windows(self, layer: Layer, x: torch.Tensor, size: int, shift: int) -> torch.Tensor:
        """The input."""
        height, width = x.shape[1:3]
        self.grids.add((self.windows(height, width, size, shift)[0].numel(), 1.0))
        return x


def count_costs(net: Any, patch_size: int, channels: int, height: int, width: int) -> Costs:
    """Count the MACs of a converted network for images of that size, on meta tensors; counters around it do not see it.

    Args:
        net: the network, as `accelerate_` leaves it.
        patch_size: side of the patches.
        channels: of the image.
    """
    with _disable_current_modes(), torch.no_grad():
        twin = meta_twin(net)
        image = torch.empty(1, channels, height, width, device='meta')
        survey = Survey(image, patch_size)
        macs = []
        for skipping in (None, survey):
            token = CURRENT.set(skipping)
            try:
                with MacCounter() as counter:
                    twin.plain_class.forward(twin, image)
            finally:
                CURRENT.reset(token)
            macs.append(counter.macs)
    return Costs(macs[0], macs[1], survey.once_macs, frozenset(survey.grids))
