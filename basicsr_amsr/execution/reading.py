"""Reads what a block of a network computes off its `forward`, so that a mask can skip it (torch.fx).

Not by the tracer of `graph`: a unit calls the block's own modules, in training as well, and `torch.export` leaves none
of them; nor does it read a block without an image of which the block's channels are known.
"""
from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from basicsr_amsr.execution.graph.ops import Value, Weight
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.unit import Kind, Node, Unit, average, join, unfit

# Modules that map each pixel by itself in evaluation mode, in which alone sparse execution runs.
IN_EVALUATION = (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)
FUNCTIONS = {F.relu, F.leaky_relu, F.gelu, F.silu, F.elu, F.sigmoid, F.tanh, F.hardswish, F.hardsigmoid, torch.relu,
             torch.sigmoid, torch.tanh, torch.add, torch.sub, torch.mul, torch.div, operator.add, operator.sub,
             operator.mul, operator.truediv, operator.neg}
IN_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
            operator.itruediv: operator.truediv, torch.relu_: torch.relu}
METHODS = {name: getattr(torch.Tensor, name) for name in ('add', 'sub', 'mul', 'div', 'relu', 'sigmoid', 'tanh')}


@dataclass(frozen=True, eq=False)  # eq would make a hash that Dynamo asks for too early
class Call:
    """A function with its arguments, in which `Value` and `Weight` stand for tensors; called with the values alone."""

    function: Callable[..., torch.Tensor]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self, *values: torch.Tensor) -> torch.Tensor:
        given = iter(values)

        def fill(arg: Any) -> Any:
            return next(given) if isinstance(arg, Value) else arg

        return self.function(*map(fill, self.args), **{key: fill(arg) for key, arg in self.kwargs.items()})


class Step(NamedTuple):
    """As Node, with the path of a module of the block or a Call in place of what is called."""

    kind: Kind
    inputs: tuple[int, ...]
    called: str | Call


@dataclass(frozen=True)
class Block:
    """What a block computes, without its weights: `bind` joins it with a module that has them."""

    steps: tuple[Step, ...]

    def bind(self, module: nn.Module) -> Unit:
        """The unit with the weights of `module`, which is the one that was read or a copy of it."""
        return Unit(tuple(Node(step.kind, step.inputs, bound(step.called, module)) for step in self.steps))

    @property
    def is_residual(self) -> bool:
        """Whether the input itself is added near the end, before activations and scalings at most."""
        number = len(self.steps)
        while number:
            step = self.steps[number - 1]
            if step.kind != 'pointwise':
                return False
            if isinstance(step.called, Call) and step.called.function in (operator.add, torch.add, torch.Tensor.add):
                return len(step.inputs) == 2 and 0 in step.inputs and step.inputs != (0, 0)
            if len(step.inputs) != 1:
                return False
            number = step.inputs[0]
        return False


def bound(called: str | Call, module: nn.Module) -> Callable[..., torch.Tensor]:
    """What a step calls, with the weights of `module`."""
    if isinstance(called, str):
        stage = module.get_submodule(called)
        if getattr(stage, 'inplace', False):
            # A value may be read again, so an activation has to leave it alone; the copy shares the weights.
            stage = copy.copy(stage)
            stage.__dict__['inplace'] = False
        return stage

    def value(arg: Any) -> Any:
        return operator.attrgetter(arg.name)(module) if isinstance(arg, Weight) else arg

    return Call(called.function, tuple(map(value, called.args)),
                {key: value(arg) for key, arg in called.kwargs.items()})


def read_block(module: nn.Module) -> Block:
    """What a module that maps (B, C, H, W) to the same shape computes.

    Convolutions keep height and width; activations, sums, products, concatenations along the channels and averages over
    the image may stand between them in any order.

    Raises:
        Unreadable: something else is in it, or its course depends on what it is given.
    """
    name = type(module).__name__
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # whatever a forward that is run symbolically raises
        raise Unreadable(f'{name} cannot be read: {" ".join(str(error).split())[:200]}') from error
    steps: list[Step] = []
    numbers: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == 'placeholder':
            if numbers and node.users:
                raise Unreadable(f'{name} takes more than one tensor.')
            numbers[node] = Value(0)
        elif node.op == 'get_attr':
            numbers[node] = _attribute(module, node)
        elif node.op == 'output':
            result = node.args[0]
            if not isinstance(result, fx.Node) or not isinstance(numbers.get(result), Value):
                raise Unreadable(f'{name} does not return one tensor.')
            return _needed(steps, numbers[result].number, name)
        else:
            step, changed = _step(module, node, numbers)
            steps.append(step)
            numbers[node] = Value(len(steps))
            if changed:  # in place: from here on the argument is the result
                old = numbers[changed]
                numbers.update({key: numbers[node] for key, value in numbers.items() if value == old})
    raise Unreadable(f'{name} returns nothing.')


def _attribute(module: nn.Module, node: fx.Node) -> Weight:
    tensor = operator.attrgetter(str(node.target))(module)
    shape = tuple(getattr(tensor, 'shape', (0, 0)))
    if len(shape) > 4 or shape[-2:] not in ((), (1,), (1, 1)) or (len(shape) == 4 and shape[0] != 1):
        raise Unreadable(f'{type(module).__name__}: {node.target} of shape {shape} is not one value per channel.')
    return Weight(str(node.target))


def _step(module: nn.Module, node: fx.Node, numbers: Mapping[fx.Node, Any]) -> tuple[Step, fx.Node | None]:
    """The step of a node, and the argument that it changes, if it works in place."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: numbers[n])
    tensors = [n for n in node.all_input_nodes if isinstance(numbers[n], Value)]
    if node.op == 'call_module':
        path = str(node.target)
        stage = module.get_submodule(path)
        inputs = tuple(numbers[n].number for n in tensors)
        if isinstance(stage, nn.AdaptiveAvgPool2d) and stage.output_size in (1, (1, 1)):
            return Step('pool', inputs, path), None
        problem = None if isinstance(stage, IN_EVALUATION) else unfit(stage)
        if problem or len(inputs) != 1:
            raise Unreadable(f'{type(module).__name__}: {path}, {problem or "takes several tensors."}')
        kind: Kind = 'conv' if isinstance(stage, nn.Conv2d) else 'pointwise'
        return Step(kind, inputs, path), tensors[0] if getattr(stage, 'inplace', False) else None
    return _function(module, node, args, dict(kwargs))


def _function(module: nn.Module, node: fx.Node, args: Any, kwargs: dict[str, Any]) -> tuple[Step, fx.Node | None]:
    target: Any = node.target
    in_place = target in IN_PLACE or kwargs.pop('inplace', False) or (isinstance(target, str) and target.endswith('_'))
    if isinstance(target, str):
        target = METHODS.get(target.rstrip('_'), target)
    target = IN_PLACE.get(target, target)
    if target is torch.cat and kwargs.get('dim', args[1] if len(args) > 1 else 0) == 1:
        values = args[0] if args else kwargs['tensors']
        if all(isinstance(value, Value) for value in values):
            return Step('cat', tuple(value.number for value in values), Call(join, tuple(values), {})), None
    if is_average(target, args, kwargs) and isinstance(args[0], Value):
        return Step('pool', (args[0].number,), Call(average, (args[0],), {})), None
    inputs = tuple(v.number for v in (*args, *kwargs.values()) if isinstance(v, Value))
    if (target not in FUNCTIONS and target not in METHODS.values()) or not inputs:
        raise Unreadable(f'{type(module).__name__}: {getattr(target, "__name__", target)} is not known to map each '
                         'pixel by itself.')
    step = Step('pointwise', inputs, Call(target, tuple(args), kwargs))
    return step, node.all_input_nodes[0] if in_place else None


def is_average(target: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a function takes the mean over height and width and keeps both."""
    if target is F.adaptive_avg_pool2d:
        return len(args) > 1 and args[1] in (1, (1, 1), [1, 1])
    dims = kwargs.get('dim', args[1] if len(args) > 1 else None)
    keep = kwargs.get('keepdim', args[2] if len(args) > 2 else False)
    return target in ('mean', torch.mean) and keep and dims is not None and tuple(dims) in ((2, 3), (-2, -1))


def _needed(steps: list[Step], output: int, name: str) -> Block:
    """The steps on which the output rests, numbered anew."""
    needed, todo = set(), [output]
    while todo:
        number = todo.pop()
        if number and number not in needed:
            needed.add(number)
            todo.extend(steps[number - 1].inputs)
    new = {old: i for i, old in enumerate([0, *sorted(needed)])}
    kept = tuple(steps[old - 1]._replace(inputs=tuple(new[i] for i in steps[old - 1].inputs)) for old in sorted(needed))
    if not any(step.kind == 'conv' for step in kept):
        raise Unreadable(f'{name} has no convolution.')
    return Block(kept)
