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
from basicsr.utils.dist_util import master_only
from torch import nn

from basicsr_amsr.amsr.calibration.trained import train_predictions_, trained_calibration, trained_predictions
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.errors import UserError
from basicsr_amsr.memory_layout import lay_out
from basicsr_amsr.models.amsr_options import AMSRPath, AMSRTrain, find_conflicts
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import Section
from basicsr_amsr.registry import MODEL_REGISTRY
from basicsr_amsr.safe_load import read_weights_only
from basicsr_amsr.selection.keep import at_keep
from basicsr_amsr.training import history
from basicsr_amsr.training.acceleration import Acceleration, training_forward
from basicsr_amsr.training.checkpoints import checkpoint_path
from basicsr_amsr.training.randomness import python_random
from basicsr_amsr.training.trained_model import TrainedModel
from basicsr_amsr.weights.cards import SUFFIX, locate

PREDICTIONS = {'params': 'predictions', 'params_ema': 'predictions_ema'}  # keys of a checkpoint
KEEP = (0, 0, 0)  # before the iteration: no other random numbers of the run have four places


@MODEL_REGISTRY.register()
class AMSRModel(SRModel, TrainedModel):
    """SRModel for `network_g: {type: AMSR, …}`: trains the dense-masked form, validates and tests the sparse one.

    The losses are against the HR image and, with `teacher_opt`, against the image of a teacher: the plain network,
    dense and frozen, with the weights from which the training starts. What is saved are weights of the plain network;
    with `prediction_lr` the predictions of its calibration train too, and beside each checkpoint is a calibration.
    """

    option_schemas: ClassVar[dict[str, type[Section]]] = {'train': AMSRTrain, 'path': AMSRPath}
    find_conflicts = staticmethod(find_conflicts)

    net_g: Any  # ConvertedNetwork, in a wrapper for several devices or not
    keeps: list[float] | None = None  # of the images of the validation that runs

    def init_training_settings(self) -> None:
        self.train_options = read(AMSRTrain, self.opt['train'], 'train')
        # A resumed run has weights of its own, but the teacher of its start.
        self.paths = (self.opt.get('resumed') or {}).get('path', self.opt['path'])
        for conflict in find_conflicts({**self.opt, 'path': self.paths}):
            raise UserError(conflict.text)
        super().init_training_settings()
        if hasattr(self, 'net_g_ema') and trained_predictions(self.get_bare_model(self.net_g)):
            train_predictions_(self.net_g_ema)
            weights = self.opt['path'].get('pretrain_network_g')
            if weights:
                self.load_predictions(self.net_g_ema, weights, 'params_ema')
        self.config: AMSRConfig = self.get_bare_model(self.net_g).amsr
        self.cri_teacher = None
        if self.train_options.teacher_opt:
            self.cri_teacher = build_loss(self.train_options.teacher_opt).to(self.device)
            self.net_teacher = self.build_teacher()

    def model_to_device(self, net: Any) -> Any:
        if self.is_train and self.opt['train'].get('prediction_lr') and getattr(net, 'calibrated', None):
            train_predictions_(net)  # before wrappers for several devices look for parameters
        return super().model_to_device(net)

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        trained = trained_predictions(self.get_bare_model(self.net_g))
        if trained is None:
            return
        own, group = list(trained.parameters()), self.optimizer_g.param_groups[0]
        chosen = {id(parameter) for parameter in own}
        group['params'] = [parameter for parameter in group['params'] if id(parameter) not in chosen]
        self.optimizer_g.add_param_group({'params': own, 'lr': self.train_options.prediction_lr})

    def load_network(self, net: Any, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
        super().load_network(net, load_path, strict, param_key)
        self.load_predictions(net, load_path, param_key)

    def load_predictions(self, net: Any, load_path: str, param_key: str | None) -> None:
        """Predictions that were trained with a checkpoint's weights, where network and checkpoint have some."""
        trained = trained_predictions(self.get_bare_model(net))
        if trained is None or param_key not in PREDICTIONS:
            return
        state = read_weights_only(locate(load_path) or load_path).get(PREDICTIONS[param_key])
        if state is not None:
            trained.load_state_dict(state)

    def save(self, epoch: int, current_iter: int) -> None:
        trained = trained_predictions(self.get_bare_model(self.net_g))
        if trained is None:
            super().save(epoch, current_iter)
            return
        nets = {'params': self.net_g}
        if hasattr(self, 'net_g_ema'):
            nets['params_ema'] = self.net_g_ema
        bare = {key: self.get_bare_model(net) for key, net in nets.items()}
        self.save_network([*nets.values(), *(trained_predictions(net) for net in bare.values())], 'net_g', current_iter,
                          param_key=[*nets, *(PREDICTIONS[key] for key in nets)])
        self.save_calibration(list(bare.values())[-1], current_iter)
        self.save_training_state(epoch, current_iter)

    @master_only
    def save_calibration(self, net: Any, current_iter: int) -> None:
        """A file for `network_g: calibration`, of the moving average where there is one."""
        trained_calibration(net).save(checkpoint_path(self.opt, 'net_g', current_iter, SUFFIX))

    def build_teacher(self) -> nn.Module:
        """The plain network, dense and frozen, computing as the trained one does."""
        teacher = build(self.opt['network_g']['backbone']).to(self.device).requires_grad_(False).eval()
        lay_out(teacher)
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
        with self.drawn_keep(net, current_iter):
            self.output = self.net_g(self.lq)
        losses = self.losses()
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer_g.step()
        if not isinstance(self.net_g, nn.DataParallel):  # whose copies of the network know it
            losses['keep'] = torch.as_tensor(net.last_keep, device=self.device)
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    @contextmanager
    def drawn_keep(self, net: Any, iteration: int) -> Iterator[None]:
        """Let the network compute the share of `keep_range` that falls to an iteration.

        By the calibration's level for it, where a level decides, which gives detailed images more than flat ones; else
        the share of each image.
        It follows from the run's seed and the iteration, so it is the same in all processes and after a resume.
        """
        if self.train_options.keep_range is None:
            yield
            return
        numbers = python_random(self.opt.get('manual_seed') or 0, *KEEP, iteration)
        keep, selection = numbers.uniform(*self.train_options.keep_range), self.config.selection
        calibration = self.config.calibration if getattr(selection, 'level', None) is not None else None
        selection = at_keep(selection, keep) if calibration is None else calibration.selection(keep)
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
        if self.keeps is not None:
            net: Any = self.get_bare_model(getattr(self, 'net_g_ema', self.net_g))
            self.keeps.append(float(getattr(net, 'last_keep', 1.0)))

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        self.keeps = []
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
            self.log_keep(dataloader.dataset.opt['name'], mean(self.keeps), current_iter, tb_logger)
        finally:
            self.keeps = None

    def log_keep(self, dataset: str, keep: float, current_iter: Any, tb_logger: Any) -> None:
        """Write the mean keep of a validation to the log, validation.jsonl and TensorBoard."""
        get_root_logger().info(f'Validation {dataset}: keep: {keep:.4f}')
        history.append(self, dataset, 'keep', keep, current_iter)
        if tb_logger:
            tb_logger.add_scalar(f'metrics/{dataset}/keep', keep, current_iter)
