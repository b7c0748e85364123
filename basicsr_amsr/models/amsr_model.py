"""Fine-tuning of an accelerated network with its mask on (AMSR), beside the plain network as teacher."""
from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any, ClassVar

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import nn

from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.backbones.pretrained import build
from basicsr_amsr.errors import UserError
from basicsr_amsr.models.amsr_options import AMSRPath, AMSRTrain, find_conflicts
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import Section
from basicsr_amsr.registry import MODEL_REGISTRY
from basicsr_amsr.training import history
from basicsr_amsr.training.acceleration import Acceleration, training_forward
from basicsr_amsr.training.randomness import python_random

RATIO = (0, 0, 0)  # before the iteration: no other random numbers of the run have four places


@MODEL_REGISTRY.register()
class AMSRModel(SRModel):
    """SRModel for `network_g: {type: AMSR, …}`: trains the dense-masked form, validates and tests the sparse one.

    The losses are against the HR image and, with `teacher_opt`, against the image of a teacher: the plain network,
    dense and frozen, with the weights from which the training starts. What is saved are weights of the plain network.
    """

    option_schemas: ClassVar[dict[str, type[Section]]] = {'train': AMSRTrain, 'path': AMSRPath}
    find_conflicts = staticmethod(find_conflicts)

    net_g: Any  # ConvertedNetwork, in a wrapper for several devices or not
    mask_ratios: list[float] | None = None  # of the images of the validation that runs

    def init_training_settings(self) -> None:
        self.train_options = read(AMSRTrain, self.opt['train'], 'train')
        # A resumed run has weights of its own, but the teacher of its start.
        self.paths = (self.opt.get('resumed') or {}).get('path', self.opt['path'])
        for conflict in find_conflicts({**self.opt, 'path': self.paths}):
            raise UserError(conflict.text)
        super().init_training_settings()
        self.config: AMSRConfig = self.get_bare_model(self.net_g).amsr
        self.cri_teacher = None
        if self.train_options.teacher_opt:
            self.cri_teacher = build_loss(self.train_options.teacher_opt).to(self.device)
            self.net_teacher = self.build_teacher()

    def build_teacher(self) -> nn.Module:
        """The plain network, dense and frozen, computing as the trained one does."""
        teacher = build(self.opt['network_g']['backbone']).to(self.device).requires_grad_(False).eval()
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights, key = self.paths.get('pretrain_network_teacher'), None
        if not weights:
            weights, key = self.paths['pretrain_network_g'], self.paths.get('param_key_g', 'params')
        self.load_network(teacher, weights, self.paths.get('strict_load_g', True), key)
        Acceleration.from_options(self.opt['train']).apply(teacher)
        several = self.opt['num_gpu'] > 1 and not self.opt['dist']
        return nn.DataParallel(teacher) if several else teacher

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad()
        net = self.get_bare_model(self.net_g)
        with self.drawn_ratio(net, current_iter):
            self.output = self.net_g(self.lq)
        losses = self.losses()
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer_g.step()
        if not isinstance(self.net_g, nn.DataParallel):  # whose copies of the network know it
            losses['mask_ratio'] = torch.as_tensor(net.last_mask_ratio, device=self.device)
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    @contextmanager
    def drawn_ratio(self, net: Any, iteration: int) -> Iterator[None]:
        """Let the network compute the share of `ratio_range` that falls to an iteration.

        It follows from the run's seed and the iteration, so it is the same in all processes and after a resume.
        """
        if self.train_options.ratio_range is None:
            yield
            return
        numbers = python_random(self.opt.get('manual_seed') or 0, *RATIO, iteration)
        selection: Any = self.config.selection
        selection = dataclasses.replace(selection, ratio=numbers.uniform(*self.train_options.ratio_range))
        net.amsr = dataclasses.replace(self.config, selection=selection)
        try:
            yield
        finally:
            net.amsr = self.config

    def losses(self) -> OrderedDict[str, torch.Tensor]:
        """The losses of `self.output`."""
        losses = OrderedDict(l_pix=self.cri_pix(self.output, self.gt))
        if self.cri_perceptual:
            perceptual = dict(zip(('l_percep', 'l_style'), self.cri_perceptual(self.output, self.gt), strict=True))
            losses.update({name: loss for name, loss in perceptual.items() if loss is not None})
        if self.cri_teacher:
            with torch.no_grad():
                target = training_forward(self.net_teacher)(self.lq)
            losses['l_teacher'] = self.cri_teacher(self.output, target)
        return losses

    def test(self) -> None:
        super().test()
        if self.mask_ratios is not None:
            net: Any = self.get_bare_model(getattr(self, 'net_g_ema', self.net_g))
            self.mask_ratios.append(float(getattr(net, 'last_mask_ratio', 1.0)))

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        self.mask_ratios = []
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
            self.log_mask_ratio(dataloader.dataset.opt['name'], mean(self.mask_ratios), current_iter, tb_logger)
        finally:
            self.mask_ratios = None

    def log_mask_ratio(self, dataset: str, ratio: float, current_iter: Any, tb_logger: Any) -> None:
        """Write the mean mask ratio of a validation to the log, validation.jsonl and TensorBoard."""
        get_root_logger().info(f'Validation {dataset}: mask_ratio: {ratio:.4f}')
        history.append(self, dataset, 'mask_ratio', ratio, current_iter)
        if tb_logger:
            tb_logger.add_scalar(f'metrics/{dataset}/mask_ratio', ratio, current_iter)
