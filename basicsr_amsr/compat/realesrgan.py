"""RealESRGAN's models where there is no GPU: what they make for one goes to the device of the training."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG, USMSharp

from basicsr_amsr.errors import UserError


def _init_on_device(cls: Any) -> Callable[..., None]:
    @functools.wraps(cls.__init__)
    def init(self: Any, opt: dict[str, Any]) -> None:
        """Builds the model as BasicSR does, without calling `.cuda()`."""
        super(cls, self).__init__(opt)
        self.jpeger = DiffJPEG(differentiable=False).to(self.device)
        self.usm_sharpener = USMSharp().to(self.device)
        self.queue_size = opt.get('queue_size', 180)

    return init


def _queue_on_device(cls: Any) -> Callable[..., None]:
    original = cls._dequeue_and_enqueue

    @functools.wraps(original)
    def dequeue_and_enqueue(self: Any) -> None:
        """Keeps the pool of training pairs as BasicSR does, on the device of the training."""
        if not hasattr(self, 'queue_lr'):
            if self.queue_size % len(self.lq):
                raise UserError(f'queue_size {self.queue_size} is no multiple of the batch of {len(self.lq)}.')
            self.queue_lr, self.queue_gt = (torch.zeros(self.queue_size, *images.shape[1:], device=self.device)
                                            for images in (self.lq, self.gt))
            self.queue_ptr = 0
        original(self)

    return dequeue_and_enqueue


init_realesrgan, init_realesrnet = _init_on_device(RealESRGANModel), _init_on_device(RealESRNetModel)
queue_realesrgan, queue_realesrnet = _queue_on_device(RealESRGANModel), _queue_on_device(RealESRNetModel)
