"""Loading network weights in BasicSR's models: as data only, with one line for what does not fit."""
from __future__ import annotations

from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.safe_load import read_weights_only

PREFIX = 'module.'  # what DataParallel and DistributedDataParallel put before every key


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(torch.is_tensor(v) for v in value.values())


def choose_weights(content: Any, param_key: str | None, path: str) -> tuple[dict[str, torch.Tensor], str | None]:
    """The state dict in a checkpoint and the key it was found under (None: the file itself is one).

    BasicSR's meaning of `param_key` is kept: None is the whole file, a missing key falls back to 'params'. Beyond
    that, a file with 'params_ema' alone, or with bare weights, is taken as it is.

    Raises:
        UserError: no weights under that key.
    """
    if isinstance(content, dict):
        keys = () if param_key is None else (param_key, 'params', 'params_ema')
        for key in keys:
            if _is_state_dict(content.get(key)):
                return content[key], key
        if _is_state_dict(content):
            return content, None
        found = ', '.join(sorted(map(str, content))[:8]) or 'nothing'
    else:
        found = type(content).__name__
    wanted = 'weights' if param_key is None else f"weights under '{param_key}'"
    raise UserError(f'{path} has no {wanted}; it holds: {found}. Set path.param_key_* to the key with the weights.')


def misfit(network: nn.Module, weights: dict[str, torch.Tensor]) -> str | None:
    """What keeps the weights from fitting the network exactly, in a few words, else None."""
    own = network.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [k for k in sorted(own.keys() & weights.keys()) if own[k].shape != weights[k].shape]
    parts = []
    if missing:
        parts.append(f'{len(missing)} missing (first {missing[0]})')
    if extra:
        parts.append(f'{len(extra)} not in the network (first {extra[0]})')
    if shapes:
        key = shapes[0]
        parts.append(f'{len(shapes)} of another shape (first {key}: file {tuple(weights[key].shape)}, '
                     f'network {tuple(own[key].shape)})')
    return '; '.join(parts) or None


def load_network(self: Any, net: nn.Module, load_path: str, strict: bool = True,
                 param_key: str | None = 'params') -> None:
    """Load the weights of a checkpoint file into `net`, on the network's device.

    Args:
        net: the network, wrapped for several devices or not.
        load_path: the checkpoint.
        strict: every key and shape has to fit; else what fits is loaded and the rest reported in the log.
        param_key: where the weights are in the file; see `choose_weights`.

    Raises:
        UserError: the file is missing, damaged or unsafe, or (strict) does not fit the network.
    """
    logger = get_root_logger()
    net = self.get_bare_model(net)
    name = type(net).__name__
    weights, key = choose_weights(read_weights_only(load_path), param_key, load_path)
    if key != param_key:
        logger.info(f"Loading: '{param_key}' is not in the file, use {'the file itself' if key is None else key!r}.")
    logger.info(f'Loading {name} model from {load_path}, with param key: [{key}].')
    weights = {k.removeprefix(PREFIX): v for k, v in weights.items()}
    self._print_different_keys_loading(net, weights, strict)
    problem = misfit(net, weights) if strict else None
    if problem:
        raise UserError(f'{load_path} does not fit {name}: {problem}. Check network_g against the checkpoint, or set '
                        'path.strict_load_g: false to load what fits.')
    net.load_state_dict(weights, strict=strict)
