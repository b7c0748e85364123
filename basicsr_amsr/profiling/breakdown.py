"""A count broken down by module and by operator, each with its share of the whole."""
from __future__ import annotations

from typing import Any

from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.counter import Tally
from basicsr_amsr.execution.free_operators import VIEW
from basicsr_amsr.profiling.macs import Count, parameter_count

DEPTH = 2
SHARES = ('params', 'macs', 'activations')


def check_depth(depth: int) -> int:
    """`depth`, where it is 1 or more; else a UserError."""
    if depth < 1:
        raise UserError(f'--depth {depth}: give 1 (the children of the network) or more.')
    return depth


def by_module(net: nn.Module, counted: Count, depth: int = DEPTH) -> dict[str, dict[str, Any]]:
    """Modules in which something ran, in the order of the network, down to `depth` levels below it.

    Each holds what is below it: a module's figures contain those of its children. A module that is used twice stands
    where it was first named.

    Returns:
        Dotted path ('' is the network) to `type`, `calls` (operators), `params`, `macs`, `macs_paper`, `activations`,
        `convolutions`, and `share` {params, macs, activations} of the whole.
    """
    net = getattr(net, '_orig_mod', net)
    found = {}
    whole = {'params': counted.params, **costs(counted.by_module.get('', Tally()))}
    for name, module in net.named_modules():
        path = '.'.join(part for part in name.split('.') if part != '_orig_mod')
        tally = counted.by_module.get(path)
        level = path.count('.') + 1 if path else 0
        if path not in found and level <= depth and (tally is not None or not path):
            figures = {'params': parameter_count(module) if path else counted.params, **costs(tally or Tally())}
            found[path] = {'type': type(module).__name__, **figures, 'share': shares(figures, whole)}
    return found


def by_operator(counted: Count) -> dict[str, dict[str, Any]]:
    """Every operator that ran, the costliest first; parameters belong to modules, not to operators.

    Returns:
        Operator to `calls`, `macs`, `macs_paper`, `activations`, `convolutions`, `share` {macs, activations}; those
        without MACs also have `elements` written (not for views, which write none) and `why` they have none.
    """
    whole = costs(counted.by_module.get('', Tally()))
    result = {}
    for name, tally in sorted(counted.by_op.items(), key=lambda item: (-item[1].macs, item[0])):
        result[name] = {**costs(tally), 'share': shares(costs(tally), whole)}
        if not tally.macs:
            result[name]['why'] = 'activation'
    result.update({name: {**costs(tally), 'share': shares(costs(tally), whole), **costless(tally)}
                   for found in (counted.uncounted, counted.free)
                   for name, tally in sorted(found.items(), key=lambda item: -item[1].elements)})
    return result


def costs(tally: Tally) -> dict[str, int]:
    """The figures of a tally."""
    return {key: getattr(tally, key) for key in ('calls', 'macs', 'macs_paper', 'activations', 'convolutions')}


def costless(tally: Tally) -> dict[str, Any]:
    """The number of elements that an operator without MACs wrote, and why it has none."""
    return {'why': tally.why} if tally.why == VIEW else {'elements': tally.elements, 'why': tally.why}


def uncounted(counted: Count) -> dict[str, dict[str, Any]]:
    """Operators that are neither counted nor known to be free: how often, elements written, and why."""
    return {name: {'calls': tally.calls, **costless(tally)} for name, tally in counted.uncounted.items()}


def shares(figures: dict[str, Any], whole: dict[str, Any]) -> dict[str, float]:
    """Figures as shares of the whole network's; 0 where that has none."""
    return {key: figures[key] / whole[key] if whole[key] else 0.0 for key in SHARES if key in figures}
