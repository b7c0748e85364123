"""Makes a graph of what torch.export found."""
from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from basicsr_amsr.execution.graph.forms import FORMS, IDENTITIES
from basicsr_amsr.execution.graph.layer_norm import with_layer_norms
from basicsr_amsr.execution.graph.ops import (
    Conv,
    Graph,
    Op,
    Pad,
    Slice,
    Torch,
    Value,
    Weight,
    operands,
    renumbered,
    weights_of,
)
from basicsr_amsr.execution.graph.sizes import OfValues
from basicsr_amsr.execution.graph.trace import Forward, Unreadable, export

VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
PREFIX = 'net.'  # trace.Wrapped holds the network under this name


class _Aliased(Exception):
    """A tensor is changed in place of which something else is a view."""


def image_channels(net: nn.Module) -> int:
    """Channels of a network's images, by its first convolution."""
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    return 1 if first is not None and first.in_channels == 1 else 3


def read(net: nn.Module, x: torch.Tensor, forward: Forward | None = None, several: bool = False,
         strict: bool = True) -> Graph:
    """The graph of a network, as it is for images of the shape of x and for every other that it `holds` for.

    Args:
        net: on any device; traced in evaluation mode.
        x: (B, C, H, W); its shape and device matter, and its type where the network has no parameters.
        forward: called as `forward(net, x)` in place of `net(x)`. several: it may return several maps, not one image.
        strict: see `export`.

    Raises:
        UserError: the network cannot be read; names the operator and the line.
    """
    program, merges = export(net, x, forward, strict)
    try:
        return _Reader(net, program, merges, x).graph(several)
    except _Aliased:
        program = program.run_decompositions({})
    try:
        return _Reader(net, program, merges, x).graph(several)
    except _Aliased as error:
        raise Unreadable(f'{type(net).__name__} changes a tensor in place that has views: {error}.') from error


class _Reader:
    """Turns the nodes of an exported program into ops."""

    def __init__(self, net: nn.Module, program: Any, merges: bool, x: torch.Tensor) -> None:
        self.name, self.program, self.merges = type(net).__name__, program, merges
        self.traced = (x.shape[0], x.shape[2], x.shape[3])
        self.ops: list[Op] = []
        self.values: dict[fx.Node, Any] = {}
        self.roots: list[int] = [0]  # the value of which each is a view, else itself
        self.constants: dict[str, torch.Tensor] = {}
        self.weights: dict[str, torch.Tensor] = {}
        user = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == 'USER_INPUT']
        image = next(node for node in program.graph.nodes if node.name == user[0])
        self.image = image.meta['val']
        from basicsr_amsr.execution.graph.symbols import Symbols  # brings sympy along: half a second

        self.symbols = Symbols(tuple(self.image.shape), self.image.fake_mode.shape_env)
        order = {node: place for place, node in enumerate(program.graph.nodes)}
        self.order = order
        self.last_use = {node: max((order[user] for user in node.users), default=-1) for node in order}

    def graph(self, several: bool) -> Graph:
        """All ops on which the outputs rest, which are one if not `several`."""
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs if hasattr(spec.arg, 'name')}
        for node in self.program.graph.nodes:
            try:
                self._read(node, specs)
            except OfValues:
                raise Unreadable(f'{self.name} has sizes that follow from what its image holds '
                                 f'({where(node)}).') from None
        results = self.program.graph_signature.user_outputs
        nodes = {node.name: node for node in self.program.graph.nodes}
        found = [self.values.get(nodes[name]) if name in nodes else None for name in results]
        outputs = [value.number for value in found if isinstance(value, Value)]
        if not outputs or len(outputs) != len(found) or (len(outputs) > 1 and not several):
            raise Unreadable(f'{self.name} returns {len(found)} things: only one image can be read.')
        self.ops = with_layer_norms([self._with_padding(op) for op in self.ops], self.weights)
        return self._pruned(outputs)

    def _read(self, node: fx.Node, specs: dict[str, Any]) -> None:
        if node.op == 'placeholder':
            self.values[node] = self._input(node, specs[node.name])
        elif isinstance(node.meta.get('val'), (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)):
            self.values[node] = self.symbols.read(node.meta['val'])
        elif node.op == 'call_function' and not _check(node):
            self._call(node)

    def _with_padding(self, op: Op) -> Op:
        """A convolution of a map with zeros around it as one that pads."""
        before = self.ops[op.inputs[0] - 1] if isinstance(op, Conv) and op.inputs[0] else None
        if not isinstance(op, Conv) or op.transposed or not isinstance(before, Pad):
            return op
        left, right, top, bottom = before.amounts
        if not (isinstance(left, int) and isinstance(top, int)) or (left, top) != (right, bottom):
            return op
        if min(left, top) < 0 or before.mode != 'constant' or before.value:
            return op
        return replace(op, inputs=before.inputs, padding=(op.padding[0] + top, op.padding[1] + left))

    def _pruned(self, outputs: list[int]) -> Graph:
        needed, todo = {0}, list(outputs)
        while todo:
            value = todo.pop()
            if value not in needed:
                needed.add(value)
                todo.extend(self.ops[value - 1].inputs)
        new = {old: number for number, old in enumerate(sorted(needed))}
        ops = tuple(renumbered(self.ops[old - 1], new) for old in sorted(needed) if old)
        used = set().union(*map(weights_of, ops))
        constants = {name: tensor for name, tensor in self.constants.items() if name in used}
        weights = {name: tensor for name, tensor in self.weights.items() if name in used}
        return Graph(self.name, ops, tuple(new[value] for value in outputs), constants, weights,
                     tuple(map(self.symbols.read, self.image.shape)), self.image.dtype, self.traced,
                     self.symbols.condition(), self.merges)

    def _input(self, node: fx.Node, spec: Any) -> Any:
        kind = spec.kind.name
        if kind == 'USER_INPUT':
            return Value(0)
        name = spec.target.removeprefix(PREFIX)
        if kind == 'CONSTANT_TENSOR':
            self.constants[name] = self.program.constants[spec.target]
        val = node.meta['val']
        self.weights[name] = torch.empty([int(side) for side in val.shape], dtype=val.dtype, device='meta')
        return Weight(name)

    def _call(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            whole = self._resolve(node.args[0])
            if isinstance(whole, tuple):
                if node.users:  # others need not be there
                    self.values[node] = whole[node.args[1]]  # type: ignore[index]
                return
            self._add(node, self._torch(node, operator.getitem, (whole, node.args[1]), {}), view=True)
            return
        target: Any = node.target
        if not isinstance(target, torch._ops.OpOverload):
            raise Unreadable(f'{self.name}: {node.target} is no operator that can be read ({where(node)}).')
        name, arguments = self._bound(node, target)
        changed = target._schema.is_mutable
        if self.merges and name == 'shallow_copy_data_' and self._of_weights_alone(arguments['self'], arguments):
            self.values[node] = arguments['self']  # holds it already: the network ran before it was traced
            return
        if changed:
            name = name.removesuffix('_')
            self._check_unaliased(node)
        if name in IDENTITIES:
            self.values[node] = self._identity(node, arguments)
            if self.values[node] is not None:
                return
        form = FORMS.get(name)
        found = form(self, node, arguments) if form else None
        if isinstance(found, tuple):  # channels of one map, not written anew
            self.values[node] = tuple(self._value(op, view=True) for op in found)
            return
        if found is None:
            found = self._fallback(node, target, changed)
        self._add(node, found, view=target.is_view or isinstance(found, Slice))
        if changed:
            old = self.values[node.args[0]]  # type: ignore[index]
            new = self.values[node]
            self.values.update({key: new for key, value in self.values.items() if value == old})

    def _of_weights_alone(self, weight: Any, arguments: dict[str, Any]) -> bool:
        """Whether a weight is set to what follows from other weights, not from the image."""
        todo, seen = list(operands(arguments)), set()
        while todo:
            value = todo.pop()
            if value not in seen:
                seen.add(value)
                todo.extend(self.ops[value - 1].inputs if value else ())
        return isinstance(weight, Weight) and 0 not in seen

    def _bound(self, node: fx.Node, target: Any) -> tuple[str, dict[str, Any]]:
        """The operator's name and all its arguments by their names, defaults included."""
        arguments = {argument.name: argument.default_value for argument in target._schema.arguments}
        names = list(arguments)
        arguments.update(zip(names, (self._resolve(arg) for arg in node.args), strict=False))
        arguments.update({key: self._resolve(arg) for key, arg in node.kwargs.items()})
        return target._schema.name.split('::')[-1], arguments

    def _resolve(self, argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda node: self.values[node])

    def _identity(self, node: fx.Node, arguments: dict[str, Any]) -> Any:
        """The argument where an operator gives it back as it is."""
        source: Any = node.args[0]
        before, after = source.meta['val'], node.meta['val']
        value = next(iter(arguments.values()))
        same = before.dtype == after.dtype and before.shape == after.shape and before.device == after.device
        return value if same or (isinstance(value, Weight) and before.shape == after.shape
                                 and before.is_floating_point() and after.is_floating_point()) else None

    def _fallback(self, node: fx.Node, target: Any, changed: bool) -> Torch:
        if changed:  # the same without changing its argument
            base = getattr(torch.ops.aten, target._schema.name.split('::')[-1].removesuffix('_'), None)
            overload = target._overloadname
            if base is None or overload not in base.overloads():
                raise _Aliased(where(node))
            target = getattr(base, overload)
        if target in VIEWS:  # values need not lie in memory as in the network
            target = torch.ops.aten.reshape.default
        args, kwargs = self._resolve(node.args), self._resolve(dict(node.kwargs))
        return self._torch(node, target, tuple(args), dict(kwargs))

    def _torch(self, node: fx.Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Torch:
        return Torch(target=target, args=args, kwargs=kwargs, inputs=operands((args, kwargs)), **self.result(node))

    def result(self, node: fx.Node) -> dict[str, Any]:
        """The fields of `Op` that describe its result."""
        value: Any = node.meta.get('val')
        tensor = isinstance(value, torch.Tensor)
        return {'shape': tuple(map(self.symbols.read, value.shape)) if tensor else (),
                'dtype': value.dtype if tensor else torch.float32, 'where': where(node)}

    def _check_unaliased(self, node: fx.Node) -> None:
        """Raise where something else sees what an operator changes in place; else it is read as a new value."""
        mutated = self.values[node.args[0]]  # type: ignore[index]
        if isinstance(mutated, Weight):
            raise Unreadable(f'{self.name} changes its weight {mutated.name} in its forward ({where(node)}).')
        root = self.roots[mutated.number]
        views = [number for number, base in enumerate(self.roots) if base == root]
        if len(views) > 1 and any(
                isinstance(value, Value) and value.number in views and value != mutated
                and self.last_use[key] > self.order[node] for key, value in self.values.items()):
            raise _Aliased(where(node))

    def _add(self, node: fx.Node, op: Op, view: bool = False) -> None:
        self.values[node] = self._value(op, view)

    def _value(self, op: Op, view: bool) -> Value:
        self.ops.append(op)
        self.roots.append(self.roots[op.inputs[0]] if view and op.inputs else len(self.ops))
        return Value(len(self.ops))


def _check(node: fx.Node) -> bool:
    """Whether a node asserts something and computes nothing."""
    return 'assert' in str(node.target) or 'sym_constrain' in str(node.target)


def where(node: fx.Node) -> str:
    """'body.0.conv1: conv2d at file.py:12'."""
    stack = list((node.meta.get('nn_module_stack') or {}).values())
    path = stack[-1][0].removeprefix(PREFIX.rstrip('.')).removeprefix('.') if stack else ''
    lines = [line.strip() for line in (node.meta.get('stack_trace') or '').splitlines() if 'File "' in line]
    place = ''
    if lines:
        file, line = lines[-1].split('"')[1], lines[-1].split('line ')[1].split(',')[0]
        place = f' at {file}:{line}'
    operation = getattr(node.target, '_schema', None)
    return f'{path or "forward"}: {operation.name.split("::")[-1] if operation else node.target}{place}'
