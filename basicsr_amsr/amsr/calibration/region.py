"""A calibrated network: all of it runs where the masks of its images are."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from basicsr_amsr.amsr.calibration.budget import RegionCosts, count_region
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.trained import trained_predictions
from basicsr_amsr.execution.calibrated.form import CalibratedForm
from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.native.selection import tile_means, tiles
from basicsr_amsr.execution.region.masked import run_masked
from basicsr_amsr.execution.region.prediction import Prediction, renumbered
from basicsr_amsr.execution.region.program import Program
from basicsr_amsr.execution.region.reading import plain_forward, read_network
from basicsr_amsr.execution.region.sparse import run_sparse


@dataclass(frozen=True)
class Region:
    """All of a network behind its first convolution. It holds no modules, so networks can be copied.

    Attributes:
        program: what the network computes; by its values the prediction is numbered.
        prediction: for skipped pixels.
        dense: the whole network by the native kernels. native: the active patches by them.
    """

    program: Program
    prediction: Prediction
    dense: DenseForm = field(compare=False)
    native: CalibratedForm = field(compare=False)
    _others: list[Program] = field(default_factory=list, compare=False)
    _placed: dict[Any, Prediction] = field(default_factory=dict, compare=False)
    _costs: dict[tuple[int, ...], RegionCosts] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, net: nn.Module, calibration: Calibration) -> Region:
        """Of a plain network.

        Raises:
            UserError: the network cannot be read, or is not the one that was calibrated.
        """
        program = read_network(net)
        calibration.check(program)
        traces = Traces(plain_forward)
        return cls(program, calibration.prediction, DenseForm(traces), CalibratedForm(traces))

    def run(self, net: nn.Module, x: torch.Tensor, tiles: torch.Tensor, config: Any, masked: bool) -> torch.Tensor:
        """The image.

        Args:
            net: with its weights.
            x: (B, C, H, W), the LR images.
            tiles: bool (B, rows, cols), the active ones.
            config: AMSRConfig.
            masked: compute everything and mask it, with gradients.
        """
        size = config.selection.tile
        if not masked and goes_native(config, x):
            prediction = self.placed(net, x.new_empty(0, dtype=torch.float32))
            image = self.native.image(net, x, tiles, size, prediction)
            if image is not None:
                return image
        program, prediction = self.program_for(net, x), self.placed(net, x)
        if program is not self.program:
            prediction = renumbered(prediction, program)
        given = (program, net, x, tiles, size, prediction)
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

    def tiles(self, net: nn.Module, x: torch.Tensor, config: Any) -> torch.Tensor:
        """Active tiles of LR images, bool (B, rows, cols): the selection's, or as many as the budget allows."""
        selection = config.selection
        if config.budget is None:
            return tiles(selection, x)
        size = tuple(x.shape[1:])
        if size not in self._costs:
            self._costs[size] = count_region(self.program, net, self.prediction, *size)
        means = tile_means(selection, x)
        return torch.stack([self._costs[size].within(config.budget, each[0], selection.tile, *size[1:])
                            for each in means.view(len(x), 1, *means.shape[-2:])])

    def placed(self, net: nn.Module, x: torch.Tensor) -> Prediction:
        """The prediction on the image's device, in its number format; where it is trained, as it is now."""
        trained = trained_predictions(net)
        if trained is not None:
            return trained.prediction().to(x)
        key = (x.device, x.dtype)
        if key not in self._placed:
            self._placed[key] = self.prediction.to(x)
        return self._placed[key]


def goes_native(config: Any, x: torch.Tensor) -> bool:
    """Whether options (AMSRConfig) leave it to us what runs images x, and native kernels can."""
    return config.backend == 'auto' and x.device.type == 'cpu' and library() is not None
