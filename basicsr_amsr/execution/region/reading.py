"""Reads what a whole network computes off its `forward` (torch.fx), and what of it can be skipped."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from basicsr_amsr.execution.plan import conv_reach
from basicsr_amsr.execution.reading import (
    FUNCTIONS,
    IN_EVALUATION,
    IN_PLACE,
    METHODS,
    Attribute,
    Call,
    Submodule,
    Unreadable,
    Value,
    bound,
    is_average,
    replaced,
)
from basicsr_amsr.execution.region.program import Form, Kind, Program, Step
from basicsr_amsr.execution.unit import average, join, unfit

SIDES = (48, 40)  # of the image on which shapes are found: no side of one map is a multiple of another's by chance


class Tracer(fx.Tracer):
    """Looks into all modules but those whose course depends on what they are given."""

    def __init__(self, closed: set[str]) -> None:
        super().__init__()
        self.closed = closed

    def trace(self, root: nn.Module, concrete_args: dict[str, Any] | None = None) -> fx.Graph:  # type: ignore[override]
        """As fx does, but what a module names in `whole_map` is called, not looked into: methods for whole maps."""
        called = [(module, Submodule(path, name)) for path, module in root.named_modules()
                  for name in getattr(type(module), 'whole_map', ())]
        for module, place in called:
            module.__dict__[place.method] = lambda *args, place=place: self.create_proxy(
                'call_function', place, args, {})
        try:
            return super().trace(root, concrete_args)
        finally:
            for module, place in called:
                del module.__dict__[place.method]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.closed or super().is_leaf_module(m, module_qualified_name)


def read_network(net: nn.Module, channels: int | None = None) -> Program:
    """What a network computes from an LR image (B, channels, H, W) to its image; default 3 channels, 1 where its first
    convolution takes gray images.

    Convolutions that keep height and width, pointwise functions, concatenations, averages over the image, pixel shuffle
    and nearest-neighbour enlargement can be skipped. Everything else runs on whole maps, and so do modules that cannot
    be looked into.

    Raises:
        Unreadable: the network's own forward depends on its image, or nothing in it can be skipped.
    """
    name = type(net).__name__
    graph = _trace(net)
    # Shapes are found on a device where it costs nothing to look.
    reader = _Reader(net, name, next(iter(net.parameters())).new_zeros(1, channels or _image_channels(net), *SIDES))
    for node in graph.nodes:
        reader.add(node)
    program = reader.program()
    if not any(step.form == 'rows' and step.kind == 'conv' for step in program.steps):
        raise Unreadable(f'{name}: behind its first convolution nothing can be skipped pixel by pixel.')
    return program


def _image_channels(net: nn.Module) -> int:
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    return 1 if first is not None and first.in_channels == 1 else 3


def _trace(net: nn.Module) -> fx.Graph:
    closed: set[str] = set()
    while True:
        tracer = Tracer(closed)
        try:
            return tracer.trace(net)
        except Exception as error:  # whatever a forward that is run symbolically raises
            inner = _untraceable(net, closed)
            if inner is None:
                reason = ' '.join(str(error).split())[:160]
                raise Unreadable(f'{type(net).__name__} cannot be read: {reason}') from error
            closed.add(inner)


def _untraceable(net: nn.Module, closed: set[str]) -> str | None:
    """The path of an innermost module that cannot be traced."""
    for path, module in reversed(list(net.named_modules())):
        if path and path not in closed and list(module.children()):
            inside = {name.removeprefix(path + '.') for name in closed if name.startswith(path + '.')}
            try:
                Tracer(inside).trace(module)
            except Exception:  # as above
                return path
    return None


class _Reader:
    """Makes steps of a traced graph, running it on a small image."""

    def __init__(self, net: nn.Module, name: str, image: torch.Tensor) -> None:
        self.net, self.name, self.image = net, name, image
        self.steps: list[Step] = []
        self.results: list[Any] = [image]
        self.values: dict[fx.Node, Any] = {}
        self.anchor = 0
        self.output = 0

    def add(self, node: fx.Node) -> None:
        """A node of the graph."""
        if node.op == 'placeholder':
            if not self.values:
                self.values[node] = Value(0)
            elif node.users and node.args:
                self.values[node] = node.args[0]  # a default
            elif node.users:
                raise Unreadable(f'{self.name} takes more than one tensor.')
        elif node.op == 'get_attr':
            self.values[node] = Attribute(str(node.target))
        elif node.op == 'output':
            result = node.args[0]
            if not isinstance(result, fx.Node) or not isinstance(self.values.get(result), Value):
                raise Unreadable(f'{self.name} does not return one image.')
            self.output = self.values[result].number
        else:
            self._step(node)

    def program(self) -> Program:
        """The steps on which the output rests."""
        needed, todo = set(), [self.output]
        while todo:
            value = todo.pop()
            if value and value not in needed:
                needed.add(value)
                todo.extend(self.steps[value - 1].inputs)
        new = {old: i for i, old in enumerate([0, *sorted(needed)])}
        if not self.anchor or self.anchor not in new:
            raise Unreadable(f'{self.name} has no convolution that its image rests on.')
        kept = [self.steps[old - 1]._replace(inputs=tuple(new[i] for i in self.steps[old - 1].inputs))
                for old in sorted(needed)]
        return Program(tuple(kept), new[self.anchor], self.name)

    def _step(self, node: fx.Node) -> None:
        args: Any = fx.node.map_arg(node.args, lambda n: self.values[n])
        kwargs: dict[str, Any] = dict(fx.node.map_arg(node.kwargs, lambda n: self.values[n]))  # type: ignore[arg-type]
        kind: Kind
        called: str | Call
        factor, reach, changed = 1, (0, 0), None
        if node.op == 'call_module':
            called = str(node.target)
            stage = self.net.get_submodule(called)
            kind, factor = _module_kind(stage)
            reach = conv_reach(stage) if kind == 'conv' else (0, 0)  # type: ignore[arg-type]
            inputs = tuple(v.number for v in args if isinstance(v, Value))
            if len(inputs) != len(args) or kwargs or len(inputs) != 1:
                kind, called = 'map', Call(Submodule(called), tuple(args), kwargs)
                inputs = numbers(args, kwargs)
            changed = node.all_input_nodes[0] if getattr(stage, 'inplace', False) else None
        else:
            kind, called, factor, in_place = _function(node, args, kwargs)
            inputs = numbers(called.args, called.kwargs)
            changed = node.all_input_nodes[0] if in_place else None
        step = Step(kind, inputs, called, 'map', 0, 0, reach, factor)  # type: ignore[arg-type]
        result = self._result(called, inputs)
        self.results.append(result)
        form, kind = self._form(step, result)
        self.steps.append(step._replace(kind=kind, form=form, scale=self._scale(result), channels=_channels(result)))
        number = len(self.steps)
        if not self.anchor and node.op == 'call_module' and isinstance(stage, nn.Conv2d):
            if _channels(result) and result.shape[-2:] != self.image.shape[-2:]:
                raise Unreadable(f'{self.name}: its first convolution gives {tuple(result.shape[-2:])} for an image of '
                                 f'{SIDES}: only networks whose first feature has the size of the image are read.')
            self.anchor = number
            self.steps[-1] = self.steps[-1]._replace(form='map', kind='map')
        self.values[node] = Value(number)
        if changed is not None:  # in place: from here on the argument is the result
            old = self.values[changed]
            self.values.update({key: Value(number) for key, value in self.values.items() if value == old})

    def _result(self, called: str | Call, inputs: tuple[int, ...]) -> Any:
        try:
            with torch.no_grad():
                return bound(called, self.net)(*(self.results[i] for i in inputs))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = ' '.join(str(error).split())[:160]
            raise Unreadable(f'{self.name} does not run on an image of {SIDES[0]}x{SIDES[1]}: {reason}') from error

    def _form(self, step: Step, result: Any) -> tuple[Form, Kind]:
        """Where a step's value is to be known, and what then is done."""
        forms = {self.steps[i - 1].form if i else 'map' for i in step.inputs}
        if not self.anchor or not step.inputs or not _channels(result):
            return 'map', 'map'
        if step.kind == 'pool':
            return 'image', 'pool'
        if forms == {'image'} and step.kind in ('conv', 'pointwise', 'cat'):
            return 'image', 'pointwise'  # a map of one pixel
        if result.shape[-2:] == (1, 1):
            return 'map', 'map'
        scale = self._scale(result)
        if step.kind in ('shuffle', 'enlarge'):
            ok = forms == {'rows'} and scale > 0
        elif step.kind == 'conv':
            ok = forms <= {'rows', 'map'} and scale > 0 and self._after_anchor(step.inputs)
        else:
            ok = step.kind in ('pointwise', 'cat') and 'rows' in forms and scale > 0 and all(
                self._fits(i, scale) for i in step.inputs)
        return ('rows', step.kind) if ok else ('map', 'map')

    def _after_anchor(self, inputs: tuple[int, ...]) -> bool:
        """Whether values rest on the anchor."""
        seen, todo = set(), list(inputs)
        while todo:
            value = todo.pop()
            if value == self.anchor:
                return True
            if value and value not in seen:
                seen.add(value)
                todo.extend(self.steps[value - 1].inputs)
        return False

    def _fits(self, value: int, scale: int) -> bool:
        """Whether a value can be read at the pixels of a map of that scale."""
        result = self.results[value]
        return _channels(result) > 0 and (result.shape[-2:] == (1, 1) or self._scale(result) == scale)

    def _scale(self, result: Any) -> int:
        if not _channels(result) or (not self.anchor and result.shape[-2:] != self.image.shape[-2:]):
            return 0
        height, width = self.image.shape[-2:]
        scale = result.shape[-2] // height
        return scale if result.shape[-2:] == (scale * height, scale * width) else 0


def numbers(args: Any, kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """The values among arguments, one for each place, in lists as well."""
    found: list[int] = []
    replaced((tuple(args), dict(kwargs)), lambda arg: found.append(arg.number) if isinstance(arg, Value) else None)
    return tuple(found)


def _channels(result: Any) -> int:
    return result.shape[1] if isinstance(result, torch.Tensor) and result.dim() == 4 else 0


def _module_kind(stage: nn.Module) -> tuple[Kind, int]:
    if isinstance(stage, nn.AdaptiveAvgPool2d) and stage.output_size in (1, (1, 1)):
        return 'pool', 1
    if isinstance(stage, nn.PixelShuffle):
        return 'shuffle', stage.upscale_factor
    if isinstance(stage, nn.Upsample) and stage.mode == 'nearest' and _whole(stage.scale_factor):
        return 'enlarge', _whole(stage.scale_factor)
    if isinstance(stage, IN_EVALUATION):
        return 'pointwise', 1
    if unfit(stage):
        return 'map', 1
    return ('conv' if isinstance(stage, nn.Conv2d) else 'pointwise'), 1


def _whole(factor: Any) -> int:
    """An enlargement's factor, alike in both directions; 0 for another."""
    if isinstance(factor, (tuple, list)):
        factor = factor[0] if len(set(factor)) == 1 else 0
    return int(factor) if isinstance(factor, (int, float)) and factor >= 1 and factor == int(factor) else 0


def _function(node: fx.Node, args: Any, kwargs: dict[str, Any]) -> tuple[Kind, Call, int, bool]:
    target: Any = node.target
    in_place = target in IN_PLACE or kwargs.pop('inplace', False) or (isinstance(target, str) and target.endswith('_'))
    if isinstance(target, str):
        name = target.rstrip('_') if in_place else target
        target = METHODS.get(name) or getattr(torch.Tensor, name)
    target = IN_PLACE.get(target, target)
    call = Call(target, tuple(args), kwargs)
    if target is torch.cat and kwargs.get('dim', args[1] if len(args) > 1 else 0) in (1, -3):
        values = args[0] if args else kwargs['tensors']
        if all(isinstance(value, Value) for value in values):
            return 'cat', Call(join, tuple(values), {}), 1, False
    if is_average(target, args, kwargs) and isinstance(args[0], Value):
        return 'pool', Call(average, (args[0],), {}), 1, False
    if target is F.pixel_shuffle and isinstance(args[0], Value):
        return 'shuffle', call, args[1] if len(args) > 1 else kwargs['upscale_factor'], False
    if target is F.interpolate and len(args) == 1 and kwargs.get('size') is None:
        factor = _whole(kwargs.get('scale_factor'))
        if factor and kwargs.get('mode', 'nearest') == 'nearest':
            return 'enlarge', call, factor, False
    pointwise = target in FUNCTIONS or target in METHODS.values()
    plain = all(isinstance(a, (Value, Attribute)) or not isinstance(a, (list, tuple, dict, slice))
                for a in (*args, *kwargs.values()))
    return ('pointwise' if pointwise and plain else 'map'), call, 1, bool(in_place)

