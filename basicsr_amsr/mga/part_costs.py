"""What the parts of a mask-guided network cost, and how many patches a budget of MACs allows."""
from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost.largest_within import largest_within
from basicsr_amsr.execution.counter import MacCounter, meta_twin


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


def count_costs(net: nn.Module, height: int, width: int) -> Costs:
    """Count the parts of an MGA network for an LR image of height × width: the true MACs of `basicsr profile`.

    Shapes alone decide, so it runs on meta tensors, without arithmetic, and no counter around it sees it.
    """
    with _disable_current_modes(), torch.no_grad(), MacCounter() as counter:
        twin, image = meta_twin(net), torch.empty(1, 3, height, width, device='meta')
        side = twin.patch_size + 2
        feature = twin.base.extract(image)
        ends = [counter.macs]
        for run in (lambda: twin.base.reconstruct(feature, image),
                    lambda: twin.mask(feature),
                    lambda: twin.refine(feature.new_empty(1, feature.shape[1], side, side)),
                    lambda: twin.refine(feature, halo=False)):
            run()
            ends.append(counter.macs)
    return Costs(ends[0], *(after - before for before, after in pairwise(ends)))
