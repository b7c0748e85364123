"""Forms of a network, by what a process of its own needs to know to make them again."""
from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_, restore_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.bench.grid import Amount
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.profile import variant_of
from basicsr_amsr.profiling.subject import plain_network
from basicsr_amsr.selection.ratio import at_ratio

LAYOUTS = {'NCHW': torch.contiguous_format, 'channels-last': torch.channels_last}


@dataclass(frozen=True)
class View:
    """What a network that selects computes.

    Args:
        rule: 'dense', without masks (MGA: variant D); 'native', the same by the native kernels; 'tiles', of one
            converted by `accelerate_`, tiles or windows;
            'patches', MGA's variant M; 'plain', the unmodified network that MGA was made of, with random weights.
        layout: memory format of weights and images, see LAYOUTS.
        amount: how much is computed. tile, inside, backend, mode: options of AMSR.
    """

    rule: Literal['dense', 'native', 'tiles', 'patches', 'plain']
    layout: Literal['NCHW', 'channels-last'] = 'channels-last'
    amount: Amount | None = None
    tile: int | None = None
    inside: str | None = None
    backend: str = 'auto'
    mode: str = 'sparse'

    def of(self, net: Any) -> nn.Module:
        """The form of a network, which it uses up: weights move to the memory format, and masks go for 'dense'."""
        net = self._ruled(net).eval()
        return net.to(memory_format=LAYOUTS[self.layout])

    def _ruled(self, net: Any) -> Any:
        if self.rule == 'plain':
            like = next(net.parameters())
            torch.manual_seed(0)
            return plain_network(net).to(like.device, like.dtype)
        if self.rule == 'native':
            accelerate_(net, AMSRConfig(mode='dense'))
            return net
        if self.rule == 'dense':
            return variant_of(net, 'D') if isinstance(net, MGA) else restore_(net)
        if self.amount is None:
            raise ValueError('a form that skips needs an amount')
        if self.rule == 'patches':
            return patch_view(net, self.amount)
        if self.tile is None:
            raise ValueError('a form by tiles needs their side')
        return tile_view(net, self.amount, self.tile, self.inside, self.backend, self.mode)


def tile_view(net: Any, amount: Amount, tile: int, inside: str | None, backend: str, mode: str = 'sparse') -> Any:
    """The converted network with other options, sharing its weights.

    Raises:
        UserError: a share of other tiles than those of the calibration, whose levels are of those alone.
    """
    if amount.kind == 'share':
        selection = net.amsr.calibration.selection(amount.value)
        if tile != selection.tile:
            raise UserError(f'--share: levels are known for the tiles of the calibration, of {selection.tile}: leave '
                            f'--tile {tile} out, or give --ratio.')
    else:
        selection = dataclasses.replace(at_ratio(net.amsr.selection, amount.value if amount.kind == 'ratio' else None),
                                        tile=tile)
    budget = amount.value if amount.kind == 'budget' else None
    view = copy.copy(net)
    view.amsr = dataclasses.replace(net.amsr, selection=selection, inside=inside or net.amsr.inside, budget=budget,
                                    backend=backend, mode=mode)
    view.costs = {}
    view.set_variant('M')
    return view


def patch_view(net: MGA, amount: Amount) -> Any:
    """The network as variant M with another K, sharing its weights."""
    view: Any = variant_of(net, 'M')
    view.k = float(amount.value) if amount.kind == 'ratio' else {'budget': amount.value}
    return view
