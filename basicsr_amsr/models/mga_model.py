"""Training of a mask-guided network in its steps (MGA, section 3.5), within one BasicSR run."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from pydantic import Field, model_validator
from torch import nn
from typing_extensions import Self

from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.mask import error_target
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.schedule import Step, StepPlan
from basicsr_amsr.mga.start import start_from_backbone
from basicsr_amsr.models.mask_validation import MaskValidation
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import Decay, File, Loss, Optimizer, Section
from basicsr_amsr.options.sections import Path, Train, Val
from basicsr_amsr.registry import MODEL_REGISTRY
from basicsr_amsr.training.acceleration import training_forward
from basicsr_amsr.training.trained_model import TrainedModel
from basicsr_amsr.weights.cards import find_weights


class MGATrain(Train):
    """`train:` of MGAModel."""

    steps: Annotated[list[Step], Field(min_length=1)] = Field(description='training steps, such as '
                                                              '- {variant: D, iters: 600000}')
    optim_g: Optimizer = Field({'type': 'Adam'}, description='of torch.optim; its learning rate is that of the step')
    pixel_opt: Loss = Field(description='loss on the final image, such as {type: L1Loss, loss_weight: 10}')
    coarse_opt: Loss = Field(description='loss on the coarse image, such as {type: L1Loss, loss_weight: 1}')
    mask_opt: Loss = Field(description='loss on the error mask, such as {type: L1Loss, loss_weight: 10}')
    ema_decay: Decay = Field(0.0, description='weight of the past in the moving average of the weights; 0 for none')

    @model_validator(mode='after')
    def _check_plan(self) -> Self:
        total = sum(step.iters for step in self.steps)
        if self.total_iter != total:
            raise ValueError(f'total_iter is {self.total_iter}, but the steps add up to {total}: make them agree.')
        if 'lr' in self.optim_g:
            raise ValueError('optim_g: lr has no effect with MGAModel: give lr, warmup_lr, min_lr in the steps.')
        return self


class MGAPath(Path):
    """`path:` of MGAModel."""

    pretrain_network_backbone: File | None = Field(None, description='weights of the plain network to start from')


class MGAVal(Val):
    """`val:` of MGAModel."""

    save_masks: bool = Field(False, description='write pictures and figures of the error masks')


@MODEL_REGISTRY.register()
class MGAModel(MaskValidation, SRModel, TrainedModel):
    """SRModel that goes through `train: steps:`, a list of variants of one MGA network.

    Step D and A train base and refine net on 10·L1(final, HR) + 1·L1(coarse, HR); step M trains the mask module alone
    on 10·L1(mask, target), or, without supervision or end to end, on the images; step B trains the base net alone.
    Which step an iteration belongs to follows from its number, so a resumed run is always in the right one. At every
    step's end the weights are saved as `net_g_step<number>_<variant>.pth`; the next step starts from them (from their
    moving average, where `ema_decay` asks for one) with a fresh optimizer.
    """

    option_schemas: ClassVar[dict[str, type[Section]]] = {'train': MGATrain, 'val': MGAVal, 'path': MGAPath}

    net_g: Any  # MGA, in a wrapper for several devices or not

    def init_training_settings(self) -> None:
        if not isinstance(self.get_bare_model(self.net_g), MGA):
            raise UserError(f"model_type MGAModel trains network_g of type MGA, not {self.opt['network_g']['type']}.")
        self.train_options = read(MGATrain, self.opt['train'], 'train')
        self.plan = StepPlan(self.train_options.steps)
        self.cri_pix, self.cri_coarse, self.cri_mask = (build_loss(options).to(self.device) for options in (
            self.train_options.pixel_opt, self.train_options.coarse_opt, self.train_options.mask_opt))
        self.check_threshold()
        self.start_from_backbone()
        self.setup_ema(self.train_options.ema_decay)
        self.step_index = 0
        self.enter_step(0)

    def check_threshold(self) -> None:
        """Refuse, before days of training, a threshold that the mask is not trained for."""
        k = self.get_bare_model(self.net_g).k
        if isinstance(k, Mapping) and 'threshold' in k and any(
                step.variant == 'M' and step.supervision != 'absolute' for step in self.plan.steps):
            raise UserError('network_g: k: a threshold needs a mask trained on the absolute error: write '
                            'supervision: absolute in the step M of train:steps.')

    def start_from_backbone(self) -> None:
        """Take the plain network's weights, `path: pretrain_network_backbone`, unless the run goes on from a state."""
        paths = self.opt['path']
        if not paths.get('pretrain_network_backbone') or paths.get('resume_state'):
            return
        if paths.get('pretrain_network_g'):
            raise UserError('path: pretrain_network_g and pretrain_network_backbone are both given: the weights of the '
                            'mga network and of the plain network cannot both be the start.')
        weights = find_weights(paths['pretrain_network_backbone'])
        new = start_from_backbone(self.get_bare_model(self.net_g), weights)
        get_root_logger().info(f'Base and refine net start from {weights}. New, beside the mask: '
                               f'{", ".join(new) or "nothing"}.')

    def setup_ema(self, decay: float) -> None:
        """Build the moving average of the weights, from the pretrained file where there is one."""
        self.ema_decay = decay
        if decay <= 0:
            return
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device).eval()
        load_path = self.opt['path'].get('pretrain_network_g')
        if load_path is None:
            self.net_g_ema.load_state_dict(self.get_bare_model(self.net_g).state_dict())
        else:
            self.load_network(self.net_g_ema, load_path, self.opt['path'].get('strict_load_g', True), 'params_ema')

    @property
    def step(self) -> Step:
        """The training step that runs."""
        return self.plan.steps[self.step_index]

    def trained_modules(self, net: MGA) -> list[nn.Module]:
        """The parts of the network that the step trains."""
        mask_only = self.step.variant == 'M' and not self.step.end_to_end
        modules = [net.mask] if mask_only else net.variant_modules(self.step.variant)
        return [module for module in modules if not (self.step.freeze_base and module is net.base)]

    def enter_step(self, index: int) -> None:
        """Set up what trains, its optimizer and its wrapper; DDP fixes its parameters when it wraps, hence anew."""
        self.step_index = index
        net = self.get_bare_model(self.net_g)
        net.requires_grad_(False)
        for module in self.trained_modules(net):
            module.requires_grad_(True)
        for model in (net, getattr(self, 'net_g_ema', None)):
            if model is not None:
                model.set_variant(self.step.variant)
                if self.step.variant == 'M':
                    model.mask.set_supervision(self.step.supervision)
        if self.step.mask_alone:
            self.net_g = net
            self.net_mask = self.model_to_device(net.mask)
        else:
            self.net_g = self.model_to_device(net)
        self.set_train_mode()
        self.setup_optimizers()
        get_root_logger().info(f'MGA step {index + 1} of {len(self.plan.steps)}: variant {self.step.variant}, '
                               f'{self.step.iters:,d} iterations, '
                               f'{sum(p.numel() for p in net.parameters() if p.requires_grad):,d} parameters to train.')

    def leave_step(self) -> None:
        """Save the finished step, and go on from the moving average where there is one."""
        label = f'step{self.step_index + 1}_{self.step.variant}'
        if self.ema_decay > 0:
            self.save_network([self.net_g, self.net_g_ema], 'net_g', label, param_key=['params', 'params_ema'])
            self.get_bare_model(self.net_g).load_state_dict(self.net_g_ema.state_dict())
        else:
            self.save_network(self.net_g, 'net_g', label)

    def set_train_mode(self) -> None:
        """Training mode for what trains, evaluation mode for what is frozen (its batch statistics stay as they are)."""
        net = self.get_bare_model(self.net_g)
        net.eval()
        for module in self.trained_modules(net):
            module.train()

    def setup_optimizers(self) -> None:
        options = dict(self.train_options.optim_g)
        name = options.pop('type')
        if not hasattr(torch.optim, name):
            raise UserError(f"train: optim_g: there is no optimizer '{name}' in torch.optim.")
        params = [p for p in self.get_bare_model(self.net_g).parameters() if p.requires_grad]
        self.optimizer_g = getattr(torch.optim, name)(params, lr=self.step.lr, **options)
        self.optimizers = [self.optimizer_g]

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Change the step where its first iteration comes, and set the learning rate of this iteration."""
        index = self.plan.index(current_iter)
        if index != self.step_index:
            self.leave_step()
            self.enter_step(index)
        rate = self.plan.learning_rate(current_iter)
        for group in self.optimizer_g.param_groups:
            group['lr'] = rate

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Enter the step of the saved iteration first: the optimizer's state belongs to it."""
        self.enter_step(self.plan.index(resume_state['iter']))
        super().resume_training(resume_state)

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad()
        losses = self.mask_losses() if self.step.mask_alone else self.image_losses()
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(self.ema_decay)

    def image_losses(self) -> OrderedDict[str, torch.Tensor]:
        """Losses on the images. Without the coarse one D and A would never train the coarse head, where it trains."""
        output = self.net_g(self.lq, with_parts=True)
        losses = OrderedDict(l_pix=self.cri_pix(output.image, self.gt))
        if (self.step.variant in 'DA' and not self.step.freeze_base) or self.step.end_to_end:
            losses['l_coarse'] = self.cri_coarse(output.coarse, self.gt)
        if self.step.variant == 'M' and self.step.supervision != 'none':
            losses['l_mask'] = self.cri_mask(output.mask, self.mask_target(output.coarse, output.refined))
        return losses

    def mask_target(self, coarse: torch.Tensor, refined: torch.Tensor) -> torch.Tensor:
        """What the mask of the step is trained towards, without gradient."""
        net = self.get_bare_model(self.net_g)
        return error_target(coarse.detach(), refined.detach(), net.scale, net.patch_size,
                            normalize=self.step.supervision == 'normalized')

    def mask_losses(self) -> OrderedDict[str, torch.Tensor]:
        """Loss of step M: the predicted mask against the difference that refining everything makes.

        The frozen nets record no gradient but take most of the step's time; they compute as in training too. The target
        is float32, from images that amp has computed in bf16 where it is on.
        """
        with torch.no_grad():
            self.net_g.set_variant('A')
            output = training_forward(self.net_g)(self.lq, with_parts=True)
            self.net_g.set_variant('M')
            target = self.mask_target(output.coarse, output.image)
        return OrderedDict(l_mask=self.cri_mask(self.net_mask(output.feature), target))

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average of what trains, whose buffers (batch statistics) are taken as they are; frozen parts keep
        theirs to the bit."""
        averages, modules = (nn.ModuleList(self.trained_modules(net))
                             for net in (self.net_g_ema, self.get_bare_model(self.net_g)))
        with torch.no_grad():
            torch._foreach_lerp_(list(averages.parameters()), list(modules.parameters()), 1 - decay)
            for kept, buffer in zip(averages.buffers(), modules.buffers(), strict=True):
                kept.copy_(buffer)
