"""What BasicSR's models do in every iteration beside the training itself, without making the program wait for the GPU.

BasicSR reads every loss in every iteration (`.item()`), at which the program waits until the GPU has done all it was
given; the GPU then waits for the program to launch the next iteration. Here a loss stays a tensor until somebody asks
for its value.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher

from basicsr_amsr.finite import LossWatch

_next = CUDAPrefetcher.next


def reduce_loss_dict(self: Any, loss_dict: Mapping[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """`BaseModel.reduce_loss_dict`, whose values stay scalar tensors on their device (float32, no gradient).

    With several processes the first one gets the averages, as in BasicSR; every process has to call it.

    Raises:
        UserError: losses are not finite for too long.
    """
    with torch.no_grad():
        losses = torch.stack([loss.detach().float().mean() for loss in loss_dict.values()])
        if not hasattr(self, 'loss_watch'):
            self.loss_watch = LossWatch()
        self.loss_watch.see(self, loss_dict, losses)
        if self.opt['dist']:
            torch.distributed.reduce(losses, dst=0)
            if self.opt['rank'] == 0:
                losses /= self.opt['world_size']
        return OrderedDict(zip(loss_dict, losses.unbind(), strict=True))


def get_current_log(self: Any) -> OrderedDict[str, float]:
    """`BaseModel.get_current_log`: the values as numbers. One transfer for all tensors, for which the program waits."""
    log = OrderedDict(self.log_dict)
    scalars = {name: value for name, value in log.items() if torch.is_tensor(value)}
    if scalars:
        log.update(zip(scalars, torch.stack(list(scalars.values())).tolist(), strict=True))
    return log


def model_ema(self: Any, decay: float = 0.999) -> None:
    """`BaseModel.model_ema`: average = decay · average + (1 - decay) · weight, of all parameters in two calls."""
    weights = dict(self.get_bare_model(self.net_g).named_parameters())
    averages = dict(self.net_g_ema.named_parameters())
    with torch.no_grad():
        torch._foreach_mul_(list(averages.values()), decay)
        torch._foreach_add_(list(averages.values()), [weights[name] for name in averages], alpha=1 - decay)


def next_on_stream(self: Any) -> Any:
    """`CUDAPrefetcher.next`: says that the training's stream uses the batch, which was allocated for another stream.

    Otherwise its memory is used for a later batch as soon as the program has let go of it, while the GPU may be behind
    the program and still read it. BasicSR was saved from that by waiting for the losses in every iteration.
    """
    batch = self.batch
    result = _next(self)
    for value in (batch or {}).values():
        if torch.is_tensor(value) and value.is_cuda:
            value.record_stream(torch.cuda.current_stream())
    return result
