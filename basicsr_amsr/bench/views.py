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
from basicsr_amsr.memory_layout import lay_out
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import variant_of
from basicsr_amsr.profiling.subject import plain_network
from basicsr_amsr.selection.keep import at_keep

LAYOUTS = {'NCHW': torch.contiguous_format, 'channels-last': torch.channels_last}


@dataclass(frozen=True)
class View:
    """What a network that selects computes.

    Args:
        rule: 'dense', without masks (MGA: variant D); 'native', the same by the native kernels; 'amsr', of one
            converted by `accelerate_`, patches or windows;
            'mga', its variant M; 'plain', the unmodified network that MGA was made of, with random weights.
        layout: memory format of weights and images, see LAYOUTS.
        amount: how much is computed. patch_size, mode: options of AMSR. backend: of AMSR, or MGA's engine.
    """

    rule: Literal['dense', 'native', 'amsr', 'mga', 'plain']
    layout: Literal['NCHW', 'channels-last'] = 'channels-last'
    amount: Amount | None = None
    patch_size: int | None = None
    backend: str = 'auto'
    mode: str = 'sparse'

    def of(self, net: Any) -> nn.Module:
        """The form of a network. It changes the network itself: its memory format and, for 'dense', its masks."""
        net = self._ruled(net).eval()
        return lay_out(net, LAYOUTS[self.layout])

    def _ruled(self, net: Any) -> Any:
        if self.rule == 'plain':
            like = next(net.parameters())
            torch.manual_seed(0)
            return plain_network(net).to(like.device, like.dtype)
        if self.rule == 'native':
            if isinstance(net, MGA):
                return with_engine(variant_of(net, 'D'), 'native')
            accelerate_(net, AMSRConfig(mode='dense', backend='native'))
            return net
        if self.rule == 'dense':
            return variant_of(net, 'D') if isinstance(net, MGA) else restore_(net)
        if self.amount is None:
            raise ValueError('a form that skips needs an amount')
        if self.rule == 'mga':
            return mga_view(net, self.amount, self.backend)
        if self.patch_size is None:
            raise ValueError('a form by patches needs their side')
        return amsr_view(net, self.amount, self.patch_size, self.backend, self.mode)


def amsr_view(net: Any, amount: Amount, patch_size: int, backend: str, mode: str = 'sparse') -> Any:
    """The converted network with other options, sharing its weights.

    Raises:
        UserError: a share of other patches than those of the calibration, whose levels are of those alone.
    """
    if amount.kind == 'keep_by_level':
        selection = net.amsr.calibration.selection(amount.value)
        if patch_size != selection.patch_size:
            raise UserError(f'--keep-by-level: levels are known for the patches of the calibration, of '
                            f'{selection.patch_size}: leave --patch-size {patch_size} out, or give --keep.')
    else:
        selection = dataclasses.replace(at_keep(net.amsr.selection, amount.value if amount.kind == 'keep' else None),
                                        patch_size=patch_size)
    budget = amount.value if amount.kind == 'budget' else None
    view = copy.copy(net)
    view.amsr = dataclasses.replace(net.amsr, selection=selection, budget=budget, backend=backend, mode=mode)
    view.costs = {}
    view.set_variant('M')
    return view


def mga_view(net: MGA, amount: Amount, backend: str = 'torch') -> Any:
    """The network as variant M with another K, sharing its weights; 'auto' is by the native kernels where they can."""
    view: Any = with_engine(variant_of(net, 'M'), backend)
    view.k = float(amount.value) if amount.kind == 'keep' else {'budget': amount.value}
    return view


def with_engine(view: Any, engine: str) -> Any:
    """A view of MGA, run by another engine."""
    view.set_engine(engine)
    return view
