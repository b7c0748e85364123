"""A unit of a network that a mask skips as a whole: read off a module once, for all modules that are built alike."""
from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from basicsr_amsr.execution.fusion import factor_of, is_sum
from basicsr_amsr.execution.graph.from_export import read
from basicsr_amsr.execution.graph.markers import marked
from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.rules import facts_of
from basicsr_amsr.execution.graph.run_by_torch import Mask, run, weight_hooks
from basicsr_amsr.execution.graph.signature import key_of
from basicsr_amsr.execution.graph.sizes import Size
from basicsr_amsr.execution.graph.skipped_units import units_of, without_units
from basicsr_amsr.execution.graph.trace import Forward, Unreadable
from basicsr_amsr.execution.torch_sparse.read_network import plain_forward
from basicsr_amsr.execution.torch_sparse.sparse_program import Program

SIDES = (16, 12)  # of the map that a unit is traced with
OTHERS = ((2, 2), (7, 300))  # that what was read has to hold for as well
KEPT = 256  # kinds of units that are remembered
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass(frozen=True, eq=False)
class Unit:
    """A function of a feature map that a mask skips as a whole: a skipped pixel keeps the unit's input.

    It holds no weights: each of its forms takes a module that is built as the one that it was read off.

    Attributes:
        forward: called as `forward(module, x)`: the unit at every pixel of (B, C, H, W), by the module's own layers.
        marked: what it does, between `Enter` and `Keep`.
    """

    forward: Forward
    marked: Graph

    @cached_property
    def graph(self) -> Graph:
        """What it does where nothing is skipped."""
        return without_units(self.marked)

    @cached_property
    def masked_graph(self) -> Graph:
        """What it does where pixels are skipped."""
        return units_of(self.marked).graph

    def masked(self, module: nn.Module, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """The dense-masked reference: every pixel is computed, the active ones are kept. What the sparse form must
        equal, and the form that trains: it is differentiable.

        Args:
            module: whose weights are taken. x: (B, C, H, W).
            mask: of the active pixels.
        """
        return run(self.masked_graph, module, x, mask, live=True)

    @cached_property
    def residual(self) -> float | None:
        """`scale` of a unit that is x + scale · body(x); None for another."""
        return self._body[1]

    @cached_property
    def program(self) -> Program:
        """The body of such a unit, or the whole of another, for the torch executor."""
        graph = self._body[0]
        program = Program(graph, facts_of(graph, 0), 0)
        if program.form(program.output) != 'rows':
            raise Unreadable(f'{graph.name} has nothing that can be skipped pixel by pixel.')
        return program

    @cached_property
    def _body(self) -> tuple[Graph, float | None]:
        ops = self.graph.ops
        if not is_sum(ops[-1]) or sorted(ops[-1].inputs)[0] or not max(ops[-1].inputs):
            return self.graph, None
        value, scale = max(ops[-1].inputs), 1.0
        factor = factor_of(ops[value - 1])
        if factor is not None and value == len(ops) - 1 and ops[value - 1].inputs != (0,):
            value, scale = ops[value - 1].inputs[0], factor
        return replace(self.graph, ops=ops[:value], outputs=(value,)), scale

    def __deepcopy__(self, memo: Any) -> Unit:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Unit, (self.forward, self.marked)


_known: OrderedDict[Any, Unit | Unreadable] = OrderedDict()
_lock = threading.Lock()  # torch.export is for one thread at a time


def read_unit(module: nn.Module, forward: Forward = plain_forward) -> Unit:
    """What a module that maps (B, C, H, W) to the same shape computes.

    Convolutions keep height and width; activations, sums, products, concatenations along the channels and averages over
    the image may stand between them in any order.

    Args:
        module: it is read in evaluation mode, whichever it is in.
        forward: called as `forward(module, x)` in place of the module's own; hashable, and with a name for pickle.

    Raises:
        Unreadable: something else is in it, or its course depends on what it is given.
    """
    key = key_of(module, forward)
    with _lock:
        unit = _known.get(key) if key else None
        if unit is None:
            try:
                unit = _read(module, forward)
            except Unreadable as error:
                unit = error
            if key:
                _known[key] = unit
                if len(_known) > KEPT:
                    _known.popitem(last=False)
    if isinstance(unit, Unreadable):
        raise unit
    return unit


def _read(module: nn.Module, forward: Forward) -> Unit:
    """The unit, for as many channels as one of the module's convolutions takes."""
    name, problem = type(module).__name__, None
    if any(isinstance(each, DROPOUT) and each.p for each in module.modules()):
        raise Unreadable(f'{name} drops values at random while it trains, which a unit does not.')
    plain = with_plain_weights(module)
    for channels in dict.fromkeys(each.in_channels for each in module.modules() if isinstance(each, nn.Conv2d)):
        x = next(plain.parameters()).new_zeros(2, channels, *SIDES)
        try:
            with torch.inference_mode(False):
                graph = read(plain, x, lambda module, x: marked(partial(forward, module), x), strict=False)
            _check(graph)
            unit = Unit(forward, graph)
            unit.program, unit.masked_graph  # noqa: B018  # refuse here what they refuse
            return unit
        except Unreadable as error:
            problem = problem or error
    raise problem or Unreadable(f'{name} has no convolution.')


def with_plain_weights(module: nn.Module) -> nn.Module:
    """A copy whose weights are there, in place of what makes them (weight_norm, parametrizations), under their names;
    the module itself where nothing does."""
    made = [each for each in module.modules() if is_parametrized(each) or weight_hooks(each)]
    if not made:
        return module
    held = {id(held): held.detach() for each in made for held in vars(each).values() if isinstance(held, torch.Tensor)}
    twin = copy.deepcopy(module, held)
    for each in twin.modules():
        if is_parametrized(each):
            weights = {name: nn.Parameter(getattr(each, name).detach()) for name in each.parametrizations}  # type: ignore
            each.__class__ = type_before_parametrizations(each)  # type: ignore[assignment]
            del each.parametrizations
            for name, weight in weights.items():
                each.register_parameter(name, weight)
        for key, hook in weight_hooks(each).items():
            hook.remove(each)
            del each._forward_pre_hooks[key]
    return twin


def _check(graph: Graph) -> None:
    free = all(isinstance(side, Size) for side in (graph.image[0], *graph.image[2:]))
    if not free or not all(graph.holds_for((batch, *sides)) for batch in (2, 3) for sides in OTHERS):
        raise Unreadable(f'{graph.name} treats maps of different sizes differently.')
    if graph.shape(graph.output) != graph.image:
        raise Unreadable(f'{graph.name} makes {graph.shape(graph.output)} from {graph.image}: a skipped pixel cannot '
                         'keep its input.')
