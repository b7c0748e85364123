"""A copy of a converted network that can run unseen."""
from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_forward_hooks_with_kwargs', '_forward_hooks_always_called',
         '_forward_pre_hooks_with_kwargs')


def twin_of(net: Any) -> Any:
    """A copy of a network that shares its weights, without hooks."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    ours = net.amsr, net.calibrated, net.native, net.units, net.whole
    memo |= {id(kept): kept for kept in ours if kept is not None}
    for module in net.modules():
        memo |= {id(vars(module)[name]): OrderedDict() for name in HOOKS if name in vars(module)}
    return copy.deepcopy(net, memo)
