"""The dense form of a network on a CPU: traced and scheduled once for a kind of size, then one call a segment."""
from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch._C import _len_torch_dispatch_stack

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution import picture_memory
from basicsr_amsr.execution.dense.kept import Kept
from basicsr_amsr.execution.dense.segment_build import Build
from basicsr_amsr.execution.dense.segments import Segment, segments_of
from basicsr_amsr.execution.dense.unit_steps import Constants
from basicsr_amsr.execution.dense.watch import Modules, Stamp
from basicsr_amsr.execution.graph import run_by_torch
from basicsr_amsr.execution.graph.count import macs
from basicsr_amsr.execution.graph.from_export import image_channels
from basicsr_amsr.execution.graph.ops import Conv, Graph
from basicsr_amsr.execution.graph.sizes import at
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.native.library import library, why_not
from basicsr_amsr.execution.native.maps import Map, Patches
from basicsr_amsr.execution.native.runner import Runner
from basicsr_amsr.execution.precision import undisturbed

LEAST_SHARE = 0.5  # of the MACs in native kernels, less what copies take, under which a network is left to torch
# MACs that native kernels have to do, to make up for one value that is copied between them and torch: it takes 1.6 ns
# on a core with AVX-512, a MAC of torch's convolutions 0.018 ns, of which ours save 0.6.
COPY = 150
FREE = 2**16  # values, whose copies take no longer than a call
USUAL = (64, 64)

Made = TypeVar('Made')


@dataclass(frozen=True)
class Given:
    """Inputs of a program beside the image: other tensors, lists of patches (`Runner.run`), other weights; and where
    outputs of the graph are wanted, by value."""

    images: Mapping[Map, torch.Tensor] = field(default_factory=dict)
    patches: Mapping[Patches, np.ndarray] = field(default_factory=dict)
    near: Mapping[Patches, np.ndarray] = field(default_factory=dict)
    weights: tuple[torch.Tensor, ...] = ()
    sound: bool = False
    into: Mapping[int, torch.Tensor] = field(default_factory=dict)


NOTHING = Given()


def images_of(x: torch.Tensor) -> Sequence[torch.Tensor]:
    """The images of a batch, float32, (1, C, H, W) each."""
    x = x.detach().float()
    return x.split(1) if x.shape[0] != 1 else (x,)


class NotNative(UserError):
    """A network that can be read, but is not for the native kernels: they are absent, or have too little of it."""


class Schedule:
    """A graph as segments that are ready to run.

    Raises:
        NotNative: the native kernels are absent, or have too little of the network.
    """

    chunk: int | None = None  # of the wavefronts, see `Runner`
    most = 1  # images of one call

    def __init__(self, graph: Graph, precision: str) -> None:
        loaded = library()
        if loaded is None:
            raise NotNative(f'the native kernels are not there: {why_not()}')
        self.graph = graph
        self.constants = Constants(graph)
        self.segments = segments_of(graph)
        _check(graph, self.segments)
        self.builds: dict[int, Build] = {number: self._build(segment, precision)
                                         for number, segment in enumerate(self.segments) if segment.native}
        self.library = loaded
        self.runners: dict[int, Runner] = {}
        self.stamp: Stamp | None = None
        self.lock = threading.RLock()

    @property
    def bytes(self) -> int:
        """How much memory its packed weights and maps take."""
        return sum(runner.bytes for runner in self.runners.values())

    def _build(self, segment: Segment, precision: str) -> Build:
        return Build(self.graph, segment, self.constants, precision)

    def run(self, net: nn.Module, modules: Modules, x: torch.Tensor, given: Given = NOTHING) -> torch.Tensor:
        """`net(x)` for one image (1, C, H, W), float32, see `outputs`."""
        return self.outputs(net, modules, x, given)[0]

    def outputs(self, net: nn.Module, modules: Modules, x: torch.Tensor,
                given: Given = NOTHING) -> tuple[torch.Tensor, ...]:
        """What the network returns for one image (1, C, H, W), float32.

        Args:
            modules: of the network. given: what the programs need beside the image.
        """
        with self.lock:
            self._follow(net, modules, x, given.weights)
            size = (x.shape[0], x.shape[2], x.shape[3])
            values: list[Any] = [x] + [None] * len(self.graph.ops)
            for number, segment in enumerate(self.segments):
                if segment.native:
                    self._native(number, segment, values, size, given)
                    if self.builds[number].folds:
                        self.builds[number].mend(self.runners[number], run_by_torch.Weights(net, self.graph), values)
                else:
                    self._torch(segment, net, values, size)
            return tuple(map(values.__getitem__, self.graph.outputs))

    def _follow(self, net: nn.Module, modules: Modules, x: torch.Tensor, others: tuple[torch.Tensor, ...]) -> None:
        """Pack weights anew where they, or others, are not those of the last pass."""
        before = self.stamp
        if before is not None and before.holds(modules, others):
            return
        stamp = Stamp(net, modules, self.graph, self.library, others)
        if before is not None and stamp.content == before.content:
            self.stamp = stamp
            return
        if self.graph.merges and before is not None:
            with torch.no_grad():
                net(x[:, :, :16, :16])
            stamp = Stamp(net, modules, self.graph, self.library, others)
        self.constants.net = net
        if not self.runners:
            self.runners = {number: Runner(build.program, self.library, chunk=self.chunk, most=self.most)
                            for number, build in self.builds.items()}
        else:
            for runner in self.runners.values():
                runner.pack()
        self.constants.net = None
        self.stamp = stamp

    def _native(self, number: int, segment: Segment, values: list[Any], size: tuple[int, int, int],
                given: Given) -> None:
        build = self.builds[number]
        images = {build.size: values[0][0], **given.images}
        for value, image in build.images.items():
            if value in segment.outputs:
                shape = [at(dim, size) for dim in self.graph.shape(value)]
                values[value] = given.into[value] if value in given.into else picture_memory.empty(shape)
            images[image] = values[value][0]
        self.runners[number].run(images, given.patches, near=given.near, sound=given.sound)

    def _torch(self, segment: Segment, net: nn.Module, values: list[Any], size: tuple[int, int, int]) -> None:
        weights = run_by_torch.Weights(net, self.graph)
        for number in segment.ops:
            op = self.graph.ops[number]
            for value in op.inputs:
                if values[value] is None:
                    self.constants.net = net
                    values[value] = self.constants.value(value)
            values[number + 1] = run_by_torch.call(op, values, weights, size, values[0])


def _check(graph: Graph, segments: list[Segment]) -> None:
    costs = macs(graph, graph.traced)
    native = [segment for segment in segments if segment.native]
    inside = sum(costs[number] for segment in native for number in segment.ops)
    between = [value for segment in native for value in {*segment.inputs, *segment.outputs} - {0, *graph.outputs}]
    copied = sum(math.prod(at(dim, graph.traced) for dim in graph.shape(value)) for value in between)
    if not inside or inside - COPY * max(copied - FREE, 0) < LEAST_SHARE * sum(costs):
        others = [graph.ops[number].where for segment in segments if not segment.native for number in segment.ops]
        share = 100 * inside / max(sum(costs), 1)
        raise NotNative(f'{graph.name}: native kernels would do {share:.0f} % of its MACs in {len(native)} turns, '
                        f'torch {len(others)} operators, the first in {others[0] if others else "none"}.')


def runs_here(modules: Modules, x: torch.Tensor) -> bool:
    """Whether images x may run by the native kernels: on the CPU, with no hook, counter or tracer looking on."""
    if x.device.type != 'cpu' or x.dim() != 4 or not x.is_floating_point() or x.dtype == torch.float64:
        return False
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or _len_torch_dispatch_stack():
        return False
    return not modules.have_hooks()


def precision_of(x: torch.Tensor) -> str:
    """'bfloat16' for images of that type and under autocast to it, else 'float32'."""
    autocast = torch.is_autocast_enabled('cpu') and torch.get_autocast_dtype('cpu') == torch.bfloat16
    return 'bfloat16' if autocast or x.dtype == torch.bfloat16 else 'float32'


class NativeForm:
    """What runs a network by the native kernels. Copies and pickles start anew.

    Args:
        traces: of the network; forms of one network share them.
    """

    def __init__(self, traces: Traces | None = None) -> None:
        self.traces = traces or Traces()
        self._modules: Modules | None = None
        self._schedules: Kept[Any] = Kept()
        self._said: set[str] = set()

    def modules(self, net: nn.Module) -> Modules:
        """The modules of a network, the same object as long as they are the same."""
        known = self._modules
        if known is None or not known.are_of(net):
            self._modules = known = Modules(net)
        return known

    def where_it_can(self, net: nn.Module, x: torch.Tensor, run: Callable[[str], Made]) -> Made | None:
        """Call `run(precision)`; None where torch has to run images x instead. Each reason is logged once."""
        if not runs_here(self.modules(net), x):
            return None
        try:
            return run(precision_of(x))
        except UserError as error:
            if str(error) not in self._said:
                self._said.add(str(error))
                logging.getLogger('basicsr').warning(f'Runs by torch: {error}')
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.traces,)


class DenseForm(NativeForm):
    """Runs a network's plain forward by the native kernels."""

    def schedule(self, net: nn.Module, x: torch.Tensor, precision: str) -> Schedule:
        """The schedule for images of the size of x, (1, C, H, W)."""
        graph = self.traces.graph(net, x)
        return self._schedules.get((id(graph), precision), lambda: Schedule(graph, precision))

    def run(self, net: nn.Module, x: torch.Tensor, precision: str = 'float32') -> torch.Tensor:
        """`net(x)` in evaluation mode, without gradients, for (B, C, H, W) on the CPU.

        Args:
            precision: 'float32' or 'bfloat16', of features and products.

        Raises:
            UserError: the network cannot be read, or the kernels are not there.
        """
        return self.outputs(net, x, precision)[0]

    def outputs(self, net: nn.Module, x: torch.Tensor, precision: str = 'float32') -> tuple[torch.Tensor, ...]:
        """What the network returns, one map or several, as a tuple; see `run`."""
        with undisturbed():
            modules = self.modules(net)
            parts = [self.schedule(net, image, precision).outputs(net, modules, image) for image in images_of(x)]
            outputs = parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))
            return outputs if x.dtype == torch.float32 else tuple(each.to(x.dtype) for each in outputs)

    def image(self, net: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        """The network's image, or None where the network itself has to run: off the CPU, while something watches its
        operators or modules (counters, tracers, hooks), and for sizes that cannot be read."""
        return self.where_it_can(net, x, lambda precision: self.outputs(net, x, precision)[0])

    def write(self, net: nn.Module, x: torch.Tensor, precision: str, into: Sequence[torch.Tensor]) -> None:
        """Write the maps that the network returns into float32 tensors of the same shapes, whose rows are contiguous;
        see `run`."""
        with undisturbed():
            modules = self.modules(net)
            for number, image in enumerate(images_of(x)):
                schedule = self.schedule(net, image, precision)
                wanted = [each[number:number + 1] for each in into]
                given = Given(into=dict(zip(schedule.graph.outputs, wanted, strict=True)))
                for out, found in zip(wanted, schedule.outputs(net, modules, image, given), strict=True):
                    if found is not out:
                        out.copy_(found)

    def is_whole(self, net: nn.Module, x: torch.Tensor) -> bool:
        """Whether the native kernels run all of the network for images x."""
        try:
            with undisturbed():
                schedule = self.schedule(net, images_of(x)[0], precision_of(x))
        except UserError:
            return False
        return all(segment.native for segment in schedule.segments)

    def trial(self, net: nn.Module) -> list[str]:
        """The names of the convolutions' weights that native kernels run, for an image of a usual size.

        Raises:
            UserError: the network cannot be read, too little of it is native, or the kernels are not there.
        """
        first = next(net.parameters())
        usual = torch.zeros(1, image_channels(net), *USUAL)
        schedule = self.schedule(net, usual, precision_of(first))
        return [op.weight for segment in schedule.segments if segment.native for number in segment.ops
                if isinstance(op := schedule.graph.ops[number], Conv)]
