"""What the parts of a mask-guided network cost, and how many patches a budget of MACs allows."""
from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost.budget import largest_within
from basicsr_amsr.execution.counter import ConvolutionCounter


class Costs(NamedTuple):
    """Multiply-accumulates of one image: coarse feature, the coarse image from it, mask prediction, refine net on one
    patch and on the whole map."""

    feature: int
    coarse: int
    mask: int
    patch: int
    whole: int

    @property
    def base(self) -> int:
        """Variant B."""
        return self.feature + self.coarse

    @property
    def dense(self) -> int:
        """Variant D, which makes no coarse image, since it would show no pixel of it."""
        return self.feature + self.whole

    def selected(self, k: int) -> int:
        """Variant M with K = `k`; with all patches it is less by the coarse image."""
        return self.base + self.mask + k * self.patch

    def k_within(self, budget: float, most: int) -> int:
        """The largest K, of `most` patches, with which M costs at most `budget` times D.

        Raises:
            UserError: base net and mask alone cost more.
        """
        try:
            return largest_within(budget, self.dense, self.selected, most,
                                  'without any patch: give more, or fewer base blocks (split_blocks).')
        except UserError as error:
            raise UserError(f'network_g: k: {error}') from error


class Parts(nn.Module):
    """Runs the parts of a mask-guided network one by one."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> Costs:
        """Costs of the parts for an image (1, 3, H, W)."""
        net, side = self.net, self.net.patch_size + 2
        with ConvolutionCounter() as counter:
            feature = net.base.extract(image)
            ends = [counter.macs]
            net.base.reconstruct(feature, image)
            ends.append(counter.macs)
            net.mask(feature)
            ends.append(counter.macs)
            net.refine(feature.new_empty(1, feature.shape[1], side, side))
            ends.append(counter.macs)
            net.refine(feature, halo=False)
            ends.append(counter.macs)
        return Costs(ends[0], *(after - before for before, after in pairwise(ends)))


def count_costs(net: nn.Module, height: int, width: int) -> Costs:
    """Count the parts of an MGA network for an LR image of height × width: the true MACs of `basicsr profile`.

    Shapes alone decide, so it runs on meta tensors, without arithmetic, and no counter around it sees it.
    """
    with _disable_current_modes(), torch.no_grad():
        parts = Parts(net)
        # In single precision, like the image, also where the network is in half.
        state = {name: tensor.to('meta', torch.float32) if tensor.is_floating_point() else tensor.to('meta')
                 for name, tensor in [*parts.named_parameters(), *parts.named_buffers()]}
        return functional_call(parts, state, (torch.empty(1, 3, height, width, device='meta'),))
