"""What BasicSR's `BaseModel` lacks, as one class that stands between it and the models."""
from __future__ import annotations

from typing import Any

import torch
from basicsr.models.base_model import BaseModel

from basicsr_amsr.compat import construction, devices
from basicsr_amsr.training import acceleration, checkpoints, history, overhead, state, validation
from basicsr_amsr.weights import load_network


class TrainedModel(BaseModel):
    """BasicSR's `BaseModel` with its methods mended; docs/compat.md says what each does otherwise.

    Models of this package inherit from it beside BasicSR's (`class Mine(SRModel, TrainedModel)`); of the others
    `models.mended.build_model` makes such a class. In both, a model's own methods come before these.

    Args:
        opt: BasicSR's options; `num_gpu` becomes the number of GPUs that are used.
    """

    device: torch.device
    opt: dict[str, Any]

    def __init__(self, opt: dict[str, Any]) -> None:
        devices.settle_devices(opt)
        super().__init__(opt)

    model_to_device = acceleration.model_to_device
    load_network = load_network.load_network
    save_network = checkpoints.save_network
    get_optimizer = construction.get_optimizer
    setup_schedulers = construction.setup_schedulers
    save_training_state = state.save_training_state
    resume_training = state.resume_training
    validation = validation.validation
    _update_best_metric_result = history.update_best_metric_result
    reduce_loss_dict = overhead.reduce_loss_dict
    get_current_log = overhead.get_current_log
    model_ema = overhead.model_ema
