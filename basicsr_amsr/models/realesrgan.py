"""RealESRGAN's models where there is no GPU: what they make for one goes to the device of the training."""
from __future__ import annotations

from typing import Any

import torch
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG, USMSharp

from basicsr_amsr.errors import UserError
from basicsr_amsr.training.trained_model import TrainedModel


class _OnDevice:
    """Puts on the model's device what both models of BasicSR put on the GPU by `.cuda()`, whatever `num_gpu` says."""

    device: torch.device
    lq: torch.Tensor
    gt: torch.Tensor

    def make_tools(self, opt: dict[str, Any]) -> None:
        self.jpeger = DiffJPEG(differentiable=False).to(self.device)
        self.usm_sharpener = USMSharp().to(self.device)
        self.queue_size: int = opt.get('queue_size', 180)

    def make_queue(self) -> None:
        if hasattr(self, 'queue_lr'):
            return
        if self.queue_size % len(self.lq):
            raise UserError(f'queue_size {self.queue_size} is no multiple of the batch of {len(self.lq)}.')
        self.queue_lr, self.queue_gt = (torch.zeros(self.queue_size, *images.shape[1:], device=self.device)
                                        for images in (self.lq, self.gt))
        self.queue_ptr = 0


class RealESRGANAnywhere(_OnDevice, RealESRGANModel, TrainedModel):
    """BasicSR's RealESRGANModel on the device of the training."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super(RealESRGANModel, self).__init__(opt)
        self.make_tools(opt)

    def _dequeue_and_enqueue(self) -> None:
        self.make_queue()
        super()._dequeue_and_enqueue()


class RealESRNetAnywhere(_OnDevice, RealESRNetModel, TrainedModel):
    """BasicSR's RealESRNetModel on the device of the training."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super(RealESRNetModel, self).__init__(opt)
        self.make_tools(opt)

    def _dequeue_and_enqueue(self) -> None:
        self.make_queue()
        super()._dequeue_and_enqueue()
