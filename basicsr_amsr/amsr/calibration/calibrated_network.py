"""A calibrated network: all of it runs where the masks of its images are."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from basicsr_amsr.amsr.calibration.calibrated_costs import CalibratedCosts, count_calibrated
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.trained import placed
from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.native.selection import patch_means, patches
from basicsr_amsr.execution.skipping.calibrated import CalibratedForm
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.prediction import Prediction, renumbered
from basicsr_amsr.execution.torch_sparse.read_network import plain_forward, read_network
from basicsr_amsr.execution.torch_sparse.run_sparse import run_sparse
from basicsr_amsr.execution.torch_sparse.sparse_program import Program


@dataclass(frozen=True)
class CalibratedNetwork:
    """A calibrated network's executor: all behind its first convolution, at active pixels.

    It holds no modules, so networks can be copied.

    Attributes:
        program: what the network computes; the prediction's keys are its values.
        prediction: what stands in at skipped pixels.
        dense, native: run the whole network and its active patches by the native kernels.
    """

    program: Program
    prediction: Prediction
    dense: DenseForm = field(compare=False)
    native: CalibratedForm = field(compare=False)
    _others: list[Program] = field(default_factory=list, compare=False)
    _placed: dict[Any, Prediction] = field(default_factory=dict, compare=False)
    _costs: dict[tuple[int, ...], CalibratedCosts] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, net: nn.Module, calibration: Calibration) -> CalibratedNetwork:
        """The executor of a plain network with this calibration.

        Raises:
            UserError: the network cannot be read, or is not the one that was calibrated.
        """
        program = read_network(net)
        calibration.check(program)
        traces = Traces(plain_forward)
        traces.add(program.graph.of_one_image(), next(net.parameters()).device.type)
        return cls(program, calibration.prediction, DenseForm(traces), CalibratedForm(traces))

    @property
    def skipped_weights(self) -> list[str]:
        """Names of the weights of convolutions that run at active pixels alone."""
        return self.program.skipped_weights

    def run(self, net: nn.Module, x: torch.Tensor, patches: torch.Tensor, config: Any, masked: bool) -> torch.Tensor:
        """The image.

        Args:
            net: with its weights.
            x: (B, C, H, W), the LR images.
            patches: bool (B, rows, cols), the active ones.
            config: AMSRConfig.
            masked: compute everything and mask it, with gradients.
        """
        size = config.selection.patch_size
        if not masked and goes_native(config, x):
            prediction = placed(net, self.prediction, x.new_empty(0, dtype=torch.float32), self._placed)
            image = self.native.image(net, x, patches, size, prediction)
            if image is not None:
                return image
        program, prediction = self.program_for(net, x), placed(net, self.prediction, x, self._placed)
        if program is not self.program:
            prediction = renumbered(prediction, program)
        given = (program, net, x, patches, size, prediction)
        return run_masked(*given) if masked else run_sparse(*given, backend=config.backend)

    def program_for(self, net: nn.Module, x: torch.Tensor) -> Program:
        """What the network computes for images of the size of x; most networks do the same at every size."""
        size = (len(x), *x.shape[2:])
        for program in (self.program, *self._others):
            if program.holds_for(size):
                return program
        program = read_network(net, x.shape[1], size)
        self._others.append(program)
        return program

    def patches(self, net: nn.Module, x: torch.Tensor, config: Any) -> torch.Tensor:
        """Active patches of LR images, bool (B, rows, cols): the selection's, or as many as the budget allows."""
        selection = config.selection
        if config.budget is None:
            return patches(selection, x)
        size = tuple(x.shape[1:])
        if size not in self._costs:
            self._costs[size] = count_calibrated(self.program, net, self.prediction, *size)
        means = patch_means(selection, x)
        return torch.stack([self._costs[size].within(config.budget, each[0], selection.patch_size, *size[1:])
                            for each in means.view(len(x), 1, *means.shape[-2:])])


def goes_native(config: Any, x: torch.Tensor) -> bool:
    """Whether images x run by the native kernels: `backend: auto` (AMSRConfig), on a CPU that has kernels."""
    return config.backend == 'auto' and x.device.type == 'cpu' and library() is not None
