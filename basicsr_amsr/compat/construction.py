"""Building what options name: whatever a constructor raises is one line with the key and the values."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import basicsr.archs
import basicsr.losses
import basicsr.train
from basicsr.models.base_model import BaseModel

from basicsr_amsr.reasons import building

_network, _loss = basicsr.archs.build_network, basicsr.losses.build_loss
_loggers = basicsr.train.init_tb_loggers


def what(opt: Mapping[str, Any], section: str) -> str:
    """'network_d: VGGStyleDiscriminator'; options that the command has read know their place."""
    return f'{getattr(opt, "place", "") or section}{opt.get("type")}'


def build_network(opt: dict[str, Any]) -> Any:
    """BasicSR's `build_network`; a UserError where the network cannot be built."""
    with building(what(opt, 'network_g: '), opt):
        net = _network(opt)
        empty = next((f'{name} of shape {tuple(p.shape)}' for name, p in net.named_parameters() if not p.numel()), None)
        if empty:
            raise ValueError(f'a layer would have no weights ({empty})')
        return net


def build_loss(opt: dict[str, Any]) -> Any:
    """BasicSR's `build_loss`; a UserError where the loss cannot be built."""
    with building(what(opt, 'train: '), opt):
        return _loss(opt)


def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> Any:
    """`BaseModel.get_optimizer`; a UserError where the optimizer cannot be built."""
    with building(f'train: the optimizer {optim_type}', {'lr': lr, **kwargs}):
        return BaseModel.get_optimizer(self, optim_type, params, lr, **kwargs)


def setup_schedulers(self: Any) -> None:
    """`BaseModel.setup_schedulers`; a UserError where the scheduler cannot be built."""
    options = dict(self.opt['train']['scheduler'])
    with building(f'train: scheduler: {options.get("type")}', options):
        BaseModel.setup_schedulers(self)


def init_tb_loggers(opt: dict[str, Any]) -> Any:
    """BasicSR's `init_tb_loggers`; a UserError where TensorBoard or Weights & Biases cannot be started."""
    with building('logger', opt['logger']):
        return _loggers(opt)
