"""The dense forms of a network in PyTorch, and that of the native kernels."""
from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch

from basicsr_amsr.amsr.accelerate import restore_
from basicsr_amsr.bench.contenders import EAGER, NATIVE, Contender, Equality
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga import native as parts
from basicsr_amsr.mga.native import NativeParts
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import variant_of

PROBED = 32  # side of an image that shows whether a network can be read


def dense_forms(net: Any) -> list[Contender]:
    """The dense network by memory format, NCHW and channels-last, each with weights of its own.

    Args:
        net: one that selects, on its device and in its dtype.
    """
    forms = []
    for view in (View('dense', 'NCHW'), View('dense', 'channels-last')):
        dense = view.of(copy.deepcopy(net))
        equal = Equality('its own variant D', dense, variant_of(net, 'D'))
        forms.append(Contender(f'dense {view.layout}', EAGER, 'dense', view, dense, equalities=(equal,)))
    return forms


def native_form(net: Any) -> list[Contender]:
    """The dense network by the native kernels, where they can run it.

    Args:
        net: one that selects, on its device.
    """
    if next(net.parameters()).device.type != 'cpu' or (isinstance(net, MGA) and not has_native_parts(net)):
        return []
    view = View('native', 'NCHW')
    try:
        native = view.of(copy.deepcopy(net))
    except UserError:
        return []
    plain = variant_of(net, 'D') if isinstance(net, MGA) else restore_(copy.deepcopy(net))
    equal = Equality('the dense form', native, plain)
    return [Contender('dense', NATIVE, 'dense', view, native, equalities=(equal,))]


_have_native_parts: WeakKeyDictionary[MGA, bool] = WeakKeyDictionary()


@torch.no_grad()
def has_native_parts(net: MGA) -> bool:
    """Whether the native kernels run the parts of a network on the CPU; it is traced for that once."""
    if net not in _have_native_parts:
        x = next(net.parameters()).new_zeros(1, 3, PROBED, PROBED)
        _have_native_parts[net] = NativeParts().run(parts.feature, net.eval(), x) is not None
    return _have_native_parts[net]


def unmodified_form(net: MGA) -> Contender:
    """The network that MGA was made of, with random weights."""
    view = View('plain')
    return Contender('unmodified network', EAGER, 'reference', view, view.of(net))
