"""Options that make training iterations faster: channels-last layout, bf16 autocast, torch.compile."""
from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.memory_layout import lay_out


@dataclass(frozen=True)
class Acceleration:
    """How networks compute while they train, from the options under `train:`.

    Attributes:
        channels_last: weights and images lie in memory pixel by pixel, not channel by channel.
        amp: 'bf16' for autocast to bfloat16 in the forward pass (weights, gradients and losses stay float32), or None.
            Of a network that carries images in 0–255 bf16 keeps full grey levels alone, and the training learns to make
            up for that: MGA-RFDN's D lost 0.009 dB in 100 iterations, and nothing in float32.
        compile: torch.compile's mode, or None for none.
    """

    channels_last: bool = False
    amp: str | None = None
    compile: str | None = None

    @classmethod
    def from_options(cls, train_opt: Mapping[str, Any]) -> Acceleration:
        """Read and check `channels_last`, `amp` and `compile`.

        Raises:
            UserError: a value that is not possible.
        """
        channels_last = train_opt.get('channels_last') or False
        if not isinstance(channels_last, bool):
            raise UserError(f"train:channels_last is '{channels_last}'; it can be true or false.")
        amp = train_opt.get('amp') or None
        if amp == 'fp16':
            raise UserError('train:amp: fp16 needs a scaled loss, which BasicSR\'s models do not have; use amp: bf16.')
        if amp not in (None, 'bf16'):
            raise UserError(f"train:amp is '{amp}'; it can be bf16 or ~.")
        return cls(channels_last, amp, _compile_mode(train_opt.get('compile')))

    def apply(self, net: nn.Module) -> None:
        """Let a network, on its device already, compute so in training; a second time changes nothing.

        Its class, parameters and state-dict keys stay as they are.
        """
        if isinstance(net.forward, TrainingForward) or (self == Acceleration() and not lies_channels_last(net)):
            return
        device = next(net.parameters()).device
        if self.amp and device.type == 'cuda' and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError(f'train:amp: {torch.cuda.get_device_name(device)} has no bf16; use amp: ~.')
        if self.channels_last:
            lay_out(net)
        net.forward = TrainingForward(net, self)


def _compile_mode(value: Any) -> str | None:
    if isinstance(value, Mapping):
        unknown = [key for key in value if key != 'mode']
        if unknown:
            raise UserError(f"train:compile has no option '{unknown[0]}'; write compile: true or compile: {{mode: …}}.")
        mode = value.get('mode') or 'default'
        modes = list(torch._inductor.list_mode_options())
        if mode not in modes:
            raise UserError(f"train:compile:mode '{mode}' is unknown. {suggestion(mode, modes)}")
        return mode
    if value not in (None, False, True):
        raise UserError(f"train:compile is '{value}'; it can be true, false or {{mode: …}}.")
    return 'default' if value else None


class TrainingForward:
    """Stands in the place of a network's `forward`: the fast way where gradients are recorded, else the plain one.

    Validation and tests record none, so they compute in float32, uncompiled (their images differ in size). What comes
    out is float32 in the usual layout either way. It is an attribute of the network and no wrapper around it:
    `state_dict`, `isinstance` and DistributedDataParallel see the network itself.

    Args:
        net: the network.
        acceleration: what to do.
    """

    def __init__(self, net: nn.Module, acceleration: Acceleration) -> None:
        self.net, self.acceleration = net, acceleration
        self.layout = torch.channels_last if acceleration.channels_last else torch.contiguous_format
        self.plain: Any = MethodType(type(net).forward, net)
        self.compiled = torch.compile(self.plain, mode=acceleration.compile) if acceleration.compile else None

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainingForward, (self.net, self.acceleration)  # a copy of the network compiles anew

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.fast if torch.is_grad_enabled() else self.plain)(*args, **kwargs)

    def fast(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass as in training, whether gradients are recorded or not."""
        device = next(self.net.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.acceleration.amp is not None):
            try:
                return _usual(self._run(*self._laid_out(args), **kwargs))
            except RuntimeError as error:
                if self.layout is not torch.channels_last or 'view size is not compatible' not in str(error):
                    raise
                # It flattens images with `view`, which needs channel after channel, as BasicSR's discriminators do.
                self._give_up('channels_last', 'be channels-last', 'channel by channel', error)
                self.layout = torch.contiguous_format
                lay_out(self.net, self.layout)
                return _usual(self._run(*self._laid_out(args), **kwargs))

    def _laid_out(self, args: tuple[Any, ...]) -> list[Any]:
        return [arg.contiguous(memory_format=self.layout) if torch.is_tensor(arg) and arg.dim() == 4 else arg
                for arg in args]

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        if self.compiled is not None:
            try:
                return self.compiled(*args, **kwargs)
            except torch._dynamo.exc.TorchDynamoException as error:
                self._give_up('compile', 'be compiled here', 'uncompiled', error)
                self.compiled = None
        return self.plain(*args, **kwargs)

    def _give_up(self, option: str, what: str, instead: str, error: Exception) -> None:
        reason = ' '.join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
        logging.getLogger('basicsr_amsr').warning(
            f'train:{option}: {type(self.net).__name__} cannot {what} and trains {instead}: {reason}')


def lies_channels_last(net: nn.Module) -> bool:
    """Whether a network's weights lie pixel by pixel, so that its images do: accelerated ones and those of MGA."""
    return any(weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(
        memory_format=torch.channels_last) for weight in net.parameters())


def training_forward(net: nn.Module) -> Any:
    """What to call for a pass without gradients that belongs to the training, such as one that makes its targets."""
    return net.forward.fast if isinstance(net.forward, TrainingForward) else net


def _usual(value: Any) -> Any:
    """Tensors as float32 and contiguous, inside tuples, lists and dicts too: losses may `view` and want precision."""
    if torch.is_tensor(value):
        return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).contiguous()
    if isinstance(value, dict):
        return type(value)((key, _usual(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        items = [_usual(item) for item in value]
        return type(value)(*items) if hasattr(value, '_fields') else type(value)(items)
    return value


def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
    """Move a network to the model's device, accelerate its training, wrap it for several processes or several GPUs.

    Raises:
        UserError: `train:` asks for an acceleration that is not possible, or not with several GPUs in one process.
    """
    net = net.to(self.device)
    if self.is_train:
        acceleration = Acceleration.from_options(self.opt.get('train') or {})
        if acceleration != Acceleration() and self.opt['num_gpu'] > 1 and not self.opt['dist']:
            raise UserError('train: channels_last, amp and compile need one process for each GPU; set num_gpu: 1, or '
                            f'start with torchrun --nproc_per_node={self.opt["num_gpu"]} -m basicsr_amsr train … '
                            '--launcher pytorch.')
        acceleration.apply(net)
    if self.opt['dist']:
        on_cuda = self.device.type == 'cuda'
        return DistributedDataParallel(
            net,
            device_ids=[torch.cuda.current_device()] if on_cuda else None,
            find_unused_parameters=self.opt.get('find_unused_parameters', False))
    return DataParallel(net) if self.opt['num_gpu'] > 1 else net
