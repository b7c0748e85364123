"""The rivals: the dense network in the forms that PyTorch runs fastest."""
from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_, restore_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.bench.contenders import COMPILED, EAGER, Contender, Equality
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.profile import variant_of
from basicsr_amsr.profiling.subject import plain_network

LAYOUTS = {'NCHW': torch.contiguous_format, 'channels-last': torch.channels_last}


def dense_forms(net: Any) -> list[Contender]:
    """The dense network by memory format, each with weights of its own.

    Args:
        net: one that selects, on its device and in its dtype.
    """
    forms = []
    for name, layout in LAYOUTS.items():
        twin = copy.deepcopy(net)
        dense: Any = variant_of(twin, 'D') if isinstance(net, MGA) else restore_(twin)
        dense = dense.eval().to(memory_format=layout)
        equal = Equality('its own variant D', dense, variant_of(net, 'D'))
        forms.append(Contender(f'dense {name}', EAGER, dense, 'dense', layout, equalities=(equal,)))
    return forms


def tiled_forms(net: Any, dense: nn.Module) -> list[Contender]:
    """The dense network in our own executor, every pixel computed, tile by tile; none for what that cannot read.

    Args:
        net: one that selects, on its device and in its dtype. dense: its dense form.
    """
    if isinstance(net, MGA):
        return []
    twin: Any = restore_(copy.deepcopy(net)).eval().to(memory_format=torch.channels_last)
    try:
        accelerate_(twin, AMSRConfig(mode='tiled'))
    except UserError:
        return []
    return [Contender('dense tile by tile', EAGER, twin, 'dense',
                      equalities=(Equality('the dense network', twin, dense),))]


def unmodified_form(net: MGA) -> Contender:
    """The network that MGA was made of, with random weights."""
    like = next(net.parameters())
    plain: Any = plain_network(net).eval().to(like.device, like.dtype)
    return Contender('unmodified network', EAGER, plain.to(memory_format=torch.channels_last), 'reference')


def compiled_form(dense: Contender, x: torch.Tensor) -> tuple[Contender, float]:
    """A dense form compiled by torch.compile for images of the size of x, and the seconds that its first call took.

    Raises:
        Exception: whatever a compiler raises.
    """
    net = torch.compile(dense.net, dynamic=False, options={'force_disable_caches': True})  # what it costs at first
    equal = Equality(dense.form, net, dense.net)
    form = Contender(dense.form, COMPILED, net, 'dense', dense.layout, equalities=(equal,))  # type: ignore[arg-type]
    begun = time.perf_counter()
    form.run(x)
    return form, time.perf_counter() - begun
