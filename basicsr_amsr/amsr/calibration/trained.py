"""Predictions of a calibrated network as parameters that train with it."""
from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.execution.torch_sparse.prediction import Affine, LightTail, Prediction

NAME = 'amsr_predictions'  # of the module in the network


class TrainedPrediction(nn.Module):
    """A prediction whose tensors are parameters.

    In the state dict of a network that holds it there is nothing of it, so that checkpoints stay those of the plain
    network; its own `state_dict` and `load_state_dict` have it.
    """

    def __init__(self, prediction: Prediction) -> None:
        super().__init__()
        self.scales = {value: affine.scale for value, affine in prediction.contexts.items()}
        self.tail_scale = prediction.tail.scale if prediction.tail else None
        for value, affine in prediction.contexts.items():
            self._keep(f'context{value}', affine)
        if prediction.tail is not None:
            self._keep('tail', prediction.tail.feature)
            self.tail_image = nn.Parameter(prediction.tail.image.clone())

    def _keep(self, name: str, affine: Affine) -> None:
        for part in ('weight', 'bias', 'narrow'):
            tensor = getattr(affine, part)
            self.register_parameter(f'{name}_{part}', None if tensor is None else nn.Parameter(tensor.clone()))

    def _affine(self, name: str, scale: int) -> Affine:
        weight, bias, narrow = (getattr(self, f'{name}_{part}') for part in ('weight', 'bias', 'narrow'))
        return Affine(weight, bias, scale, narrow)

    def prediction(self) -> Prediction:
        """The prediction that the parameters are, with gradients."""
        contexts = {value: self._affine(f'context{value}', scale) for value, scale in self.scales.items()}
        tail = LightTail(self.tail_image, self._affine('tail', self.tail_scale)) if self.tail_scale else None
        return Prediction(contexts, tail)

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:
        """The predictions by themselves. They are left out of the state dict of the network that they belong to."""
        return super().state_dict(*args, **kwargs) if destination is None else destination

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        if not prefix:
            super()._load_from_state_dict(state_dict, prefix, *args)


def train_predictions_(net: nn.Module) -> TrainedPrediction:
    """Make the predictions of a calibrated network parameters of it, in place; they begin as they were fitted.

    Args:
        net: converted by `accelerate_` with a calibration.
    """
    calibrated: Any = net.calibrated
    trained = TrainedPrediction(calibrated.prediction).to(next(net.parameters()).device)
    net.add_module(NAME, trained)
    return trained


def trained_predictions(net: nn.Module) -> TrainedPrediction | None:
    """The trained predictions of a network that has some."""
    found = net._modules.get(NAME)
    return found if isinstance(found, TrainedPrediction) else None


def placed(net: nn.Module, fitted: Prediction, x: torch.Tensor, kept: dict[Any, Prediction]) -> Prediction:
    """The prediction of a network on the image's device, in its number format; where it is trained, as it is now.

    Args:
        fitted: what the network was calibrated to. kept: where it was placed before, by device and format.
    """
    trained = trained_predictions(net)
    if trained is not None:
        return trained.prediction().to(x)
    key = (x.device, x.dtype)
    if key not in kept:
        kept[key] = fitted.to(x)
    return kept[key]


def trained_calibration(net: Any) -> Calibration:
    """The calibration of a network with the predictions as they are now, on the CPU."""
    now = net.get_submodule(NAME).prediction()
    now = now.changed(lambda tensor: tensor.detach().to('cpu', torch.float32, copy=True))
    return dataclasses.replace(net.amsr.calibration, prediction=now)
