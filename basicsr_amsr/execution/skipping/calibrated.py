"""A calibrated network by the native kernels: scheduled once for a kind of size, lists of patches for each image."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from basicsr_amsr.execution.dense.form import Given, NativeForm, Schedule, images_of
from basicsr_amsr.execution.dense.segment_build import Build
from basicsr_amsr.execution.dense.segments import Segment
from basicsr_amsr.execution.dense.watch import Modules
from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.rules import rules_of
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.native.selection import patches_of
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.execution.precision import undisturbed
from basicsr_amsr.execution.skipping.lists import lists_of
from basicsr_amsr.execution.skipping.predicted import CalibratedBuild, Predicted
from basicsr_amsr.execution.torch_sparse.prediction import Prediction


class CalibratedSchedule(Schedule):
    """A graph with predictions, ready to run.

    Raises:
        UserError: the native kernels are absent, or lack something of the network.
    """

    chunk = 0  # of lists that are not full a wavefront's steps are so short that threads wait more than caches save

    def __init__(self, graph: Graph, prediction: Prediction, precision: str) -> None:
        self.rules = rules_of(graph)
        self.predicted = Predicted(prediction, self.rules)
        super().__init__(graph, precision)

    def _build(self, segment: Segment, precision: str) -> Build:
        rows = [value for value in range(len(self.graph.ops) + 1) if self.rules.form(value) == 'rows']
        if not {value - 1 for value in (self.rules.anchor, *rows)} <= set(segment.ops):
            other = next(self.graph.ops[value - 1].where for value in rows if value - 1 not in segment.ops)
            raise Unreadable(f'{self.graph.name}: the native kernels have not all of it: {other}')
        return CalibratedBuild(self.rules, segment, self.constants, self.predicted, precision)

    def skip(self, net: nn.Module, modules: Modules, x: torch.Tensor, active: np.ndarray,
             prediction: Prediction) -> torch.Tensor:
        """The network's image for one image (1, C, H, W), float32.

        Args:
            active: bool (⌈H/4⌉, ⌈W/4⌉), the active patches.
            prediction: for skipped pixels, built as the one that it was made for.
        """
        lists = lists_of(self.library, active, x.shape[2], x.shape[3])
        (build,) = self.builds.values()
        assert isinstance(build, CalibratedBuild)
        images = {} if build.rest is None else {build.rest: torch.full((1, 1, 1), lists.share)}
        patches = {build.active: lists.active, build.skipped: lists.skipped, build.band: lists.band}
        with self.lock:
            self.predicted.take(prediction)
            given = Given(images, patches, {build.band: lists.near}, self.predicted.tensors, sound=True)
            return self.run(net, modules, x, given)


class CalibratedForm(NativeForm):
    """Runs a calibrated network's forward by the native kernels."""

    def run(self, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, size: int, prediction: Prediction,
            precision: str = 'float32') -> torch.Tensor:
        """Equals `run_masked`, without gradients, for (B, C, H, W) on the CPU.

        Args:
            patches: bool (B, ⌈H/size⌉, ⌈W/size⌉), the active ones. size: their side.
            prediction: float32.
            precision: 'float32' or 'bfloat16', of features and products.

        Raises:
            UserError: the network cannot be read, the kernels lack something, or are not there.
        """
        if size % PATCH:
            raise Unreadable(f'patches of {size} pixels: native kernels compute those of {PATCH}')
        with undisturbed():
            images, modules = images_of(x), self.modules(net)
            active = patches_of(patches.cpu(), size, x.shape[2], x.shape[3])
            parts = [self._schedule(net, image, prediction, precision).skip(net, modules, image, listed, prediction)
                     for image, listed in zip(images, active, strict=True)]
            return torch.cat(parts).to(x.dtype) if len(parts) > 1 else parts[0].to(x.dtype)

    def _schedule(self, net: nn.Module, x: torch.Tensor, prediction: Prediction, precision: str) -> CalibratedSchedule:
        graph = self.traces.graph(net, x)
        return self._schedules.get((id(graph), precision), lambda: CalibratedSchedule(graph, prediction, precision))

    def image(self, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, size: int,
              prediction: Prediction) -> torch.Tensor | None:
        """The network's image, or None where torch has to run it: off the CPU, while something watches its operators or
        modules (counters, tracers, hooks), and for what the kernels do not have."""
        return self.where_it_can(net, x, lambda precision: self.run(net, x, patches, size, prediction, precision))
