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
(profiling/conventions.py).

`activations` and `convolutions`: elements written by convolutions, transposed ones included, and how many of them ran:
"#Acts" and "#Conv" of the NTIRE challenges on efficient super-resolution (Li et al., CVPRW 2022).

An operator that has no handle and is not known to be free is reported under `uncounted` with the elements it wrote:
interpolation with weights, Fourier transforms, recurrent layers, custom operators and the like; free ones, with the
reason, under `free`. So every operator that ran is in one of `by_op`, `free` and `uncounted`. Shapes decide, so meta
tensors give the same figures without arithmetic; masks decide what runs, so they are counted as they fall.
Not seen: Triton kernels launched outside a registered operator.
"""
from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from basicsr_amsr.execution.free_operators import VIEW, why_free, why_uncounted
from basicsr_amsr.execution.operator_costs import HANDLES, Cost, bind

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
    def macs(self) -> int:
        """True multiply-accumulates so far."""
        return self.total.macs

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


def meta_twin(net: nn.Module) -> Any:
    """A copy of a network on meta tensors, in single precision and evaluation mode, to count without arithmetic."""
    return copy.deepcopy(net, {id(tensor): _on_meta(tensor) for tensor in (*net.parameters(), *net.buffers())}).eval()


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape in single precision, a parameter where it was one."""
    empty = torch.empty_like(tensor, device='meta', dtype=torch.float32 if tensor.is_floating_point() else None)
    return nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
