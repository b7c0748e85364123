"""Counts multiply-accumulates (MACs) of what really runs, at the level of PyTorch's dispatcher.

Counting convention
-------------------

`macs`, true multiply-accumulates:

- convolution: k·k·(Cin/groups)·Cout·Hout·Wout, products with padded zeros included;
- transposed convolution: k·k·Cin·(Cout/groups)·Hin·Win (its *input* size), border products that are cropped included;
- linear layers and matrix products (also those inside einsum and tensordot): m·k·n;
- scaled dot-product attention: l·m·(e + v) per head, masks not considered;
- biases, element-wise operators, activations, reductions, pooling, normalisation, softmax, and moving data: nothing.

`macs_paper`, the counter behind the tables of the MGA paper (ECCV 2022): the same, but a transposed convolution counts
at its *output* size, every output element of ReLU, LeakyReLU and PReLU counts one, of the mask prediction only the
first convolution counts, and the coarse image counts even where none of its pixels is seen, so that it is not computed
(conventions.py).

`activations` and `convolutions`: elements written by convolutions, transposed ones included, and how many of them ran:
"#Acts" and "#Conv" of the NTIRE challenges on efficient super-resolution (Li et al., CVPRW 2022).

An operator that has no handle and is not known to be free is reported under `uncounted` with the elements it wrote:
interpolation with weights, Fourier transforms, recurrent layers, custom operators and the like; free ones, with the
reason, under `free`. So every operator that ran is in one of `by_op`, `free` and `uncounted`. Shapes decide, so meta
tensors give the same figures without arithmetic; masks decide what runs, so they are counted as they fall.
Not seen: Triton kernels launched outside a registered operator. Compiled modules run eagerly while they are counted.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.operator_costs import HANDLES, Cost, bind
from basicsr_amsr.profiling.conventions import paper_extra, paper_ignored
from basicsr_amsr.profiling.free_ops import VIEW, why_free, why_uncounted

NOTHING = Cost(0, 0)
# PyTorch can also express these by element-wise operators, and under inference_mode it would: then they would be free.
WHOLE = ('aten::upsample_', 'aten::_upsample_')


@dataclass
class Tally:
    """Calls of an operator, or operators in a module, and what they cost.

    `elements` is what operators without a cost wrote, `why` the reason that they have none.
    """

    calls: int = 0
    macs: int = 0
    macs_paper: int = 0
    activations: int = 0
    convolutions: int = 0
    elements: int = 0
    why: str = ''

    def add(self, cost: Cost = NOTHING, elements: int = 0, real: bool = True) -> None:
        """Adds the cost of a call, and counts the call where it is `real`."""
        self.calls += real
        self.macs += cost.macs
        self.macs_paper += cost.macs_paper
        self.activations += cost.activations
        self.convolutions += cost.convolutions
        self.elements += elements


@dataclass(frozen=True)
class Count:
    """What one call of a network costs.

    Attributes:
        macs: true multiply-accumulates.
        macs_paper: by the MGA paper's counter.
        params: elements of all parameters.
        activations: elements that convolutions wrote. convolutions: how many ran.
        by_op: operator name to its calls and costs; transposed convolutions stand apart.
        by_module: dotted module path to the costs of the module and all below it ('' is the network); `calls` counts
            operators there, views apart. Modules in which nothing ran are missing.
        uncounted: operators without a handle, with calls, elements written and the reason.
        free: operators that cost nothing by convention, likewise.
    """

    macs: int
    macs_paper: int
    params: int
    activations: int = 0
    convolutions: int = 0
    by_op: Mapping[str, Tally] = field(default_factory=dict)
    by_module: Mapping[str, Tally] = field(default_factory=dict)
    uncounted: Mapping[str, Tally] = field(default_factory=dict)
    free: Mapping[str, Tally] = field(default_factory=dict)


class MacCounter(TorchDispatchMode):
    """Counts everything that runs inside `with MacCounter() as counter:`; see the module's docstring.

    Args:
        ignored: module paths whose operators (and those below) do not enter `macs_paper`; paths are known only inside
            `track(net)`.
    """

    def __init__(self, ignored: Sequence[str] = ()) -> None:
        super().__init__()
        self.ignored = tuple(ignored)
        self.by_op: dict[str, Tally] = {}
        self.by_module: dict[str, Tally] = {}
        self.uncounted: dict[str, Tally] = {}
        self.free: dict[str, Tally] = {}
        self.path: list[str] = ['']
        self.real = True

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        handle = HANDLES.get(name)
        reason = None if handle is not None else why_free(func)
        if handle is None and reason is None and not name.startswith(WHOLE):
            # Under inference_mode composite operators (conv2d, matmul, einsum) arrive here whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if handle is None and not self.real:
            return result
        if handle is not None:
            arguments = bind(func, args, kwargs)
            self.record(f'{name} (transposed)' if arguments.get('transposed') else name, handle(arguments, result))
        else:
            self.record_costless(name, reason, result)
        return result

    def record(self, name: str, cost: Cost) -> None:
        """Enter one operator call under its name and under every module it lies in."""
        path = self.path[-1]
        if any(within(path, root) for root in self.ignored):
            cost = cost._replace(macs_paper=0)
        if not self.real:
            cost = Cost(0, cost.macs_paper)
        self.by_op.setdefault(name, Tally()).add(cost, real=self.real)
        self.enter(cost)

    def record_costless(self, name: str, reason: str | None, result: Any) -> None:
        """Enter one call of an operator that is free for `reason`, or that is not counted."""
        elements = sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        if reason is None:
            self.uncounted.setdefault(name, Tally(why=why_uncounted(name))).add(elements=elements)
        else:
            self.free.setdefault(name, Tally(why=reason)).add(elements=0 if reason == VIEW else elements)
        if reason != VIEW:
            self.enter(NOTHING, elements)

    def enter(self, cost: Cost, elements: int = 0) -> None:
        """Enter a call under the modules that it lies in."""
        for prefix in prefixes(self.path[-1]):
            self.by_module.setdefault(prefix, Tally()).add(cost, elements, self.real)

    @contextmanager
    def for_the_paper(self) -> Iterator[None]:
        """Inside, operators enter `macs_paper` alone: they stand for what the paper counts and nobody computes."""
        self.real = False
        try:
            yield
        finally:
            self.real = True

    @property
    def total(self) -> Tally:
        """Costs of all operators so far."""
        return self.by_module.get('', Tally())

    @contextmanager
    def track(self, net: nn.Module) -> Iterator[None]:
        """Inside, costs are entered under the paths of the modules of `net` whose calls they happen in."""
        with ExitStack() as stack:
            for name, module in net.named_modules():
                path = '.'.join(part for part in name.split('.') if part != '_orig_mod')
                enter, leave = self._hooks(path)
                stack.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
                stack.callback(module.register_forward_hook(leave, always_call=True).remove)
            yield

    def _hooks(self, path: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def enter(module: nn.Module, args: Any) -> None:
            self.path.append(path)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.path.pop()

        return enter, leave


def within(path: str, root: str) -> bool:
    """Whether a dotted path is `root` or lies below it."""
    return root == '' or path == root or path.startswith(f'{root}.')


def prefixes(path: str) -> list[str]:
    """'a.b' to '', 'a', 'a.b'."""
    parts = path.split('.') if path else []
    return ['.'.join(parts[:length]) for length in range(len(parts) + 1)]


def parameter_count(net: nn.Module) -> int:
    """Elements of all parameters, shared ones once."""
    return sum(parameter.numel() for parameter in net.parameters())


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Inside, every module of `net` is in eval mode; afterwards as it was."""
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def plain_operators() -> Iterator[None]:
    """Inside, compiled modules run eagerly and attention layers take no fused shortcut, so that operators are seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # Where dynamo was never imported nothing can be compiled, and importing it takes seconds.
    stance: AbstractContextManager[Any] = nullcontext()
    if 'torch._dynamo' in sys.modules:
        stance = torch.compiler.set_stance('force_eager')
    try:
        with stance:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(net: nn.Module, *inputs: Any, exclude: Sequence[str] = (), **kwargs: Any) -> Count:
    """Count one call `net(*inputs, **kwargs)` in eval mode, without gradient, on whatever device the tensors are.

    Args:
        net: the network; its modes and hooks are as before afterwards. Compiled modules are counted as if they were
            not compiled.
        inputs, kwargs: what it is called with; meta tensors with a network on the meta device cost no arithmetic.
        exclude: further module paths that `macs_paper` leaves out, beside those of conventions.py.

    Raises:
        UserError: `net` is a TorchScript module, or a path in `exclude` is none of its modules.
    """
    net = getattr(net, '_orig_mod', net)
    if isinstance(net, torch.jit.ScriptModule):
        raise UserError('A TorchScript module may fuse operators and cannot be counted; count the eager network.')
    known = dict(net.named_modules())
    for path in exclude:
        if path not in known:
            raise UserError(f"exclude: '{path}' is no module of {type(net).__name__}.")
    counter = MacCounter([*paper_ignored(net), *exclude])
    with (torch.no_grad(), evaluating(net), plain_operators(), counter.track(net), counter,
          paper_extra(net, counter.for_the_paper)):
        net(*inputs, **kwargs)
    total = counter.total
    return Count(total.macs, total.macs_paper, parameter_count(net), total.activations, total.convolutions,
                 counter.by_op, counter.by_module, counter.uncounted, counter.free)
