"""Loading network weights in BasicSR's models: as data only, with one line for what does not fit."""
from __future__ import annotations

from typing import Any

from basicsr.utils import get_root_logger
from torch import nn

from basicsr_amsr.backbones.checkpoint import Misfit, load_into, source_of_weights
from basicsr_amsr.errors import UserError
from basicsr_amsr.safe_load import read_weights_only
from basicsr_amsr.weights.cards import locate


def load_network(self: Any, net: nn.Module, load_path: str, strict: bool = True,
                 param_key: str | None = 'params') -> None:
    """Load the weights of a checkpoint file into `net`, on the network's device.

    Wrapping, prefixes and the public names of a known network family are seen to by `backbones.checkpoint`.

    Args:
        net: the network, wrapped for several devices or not.
        load_path: the checkpoint, or the name of weights that come with the project.
        strict: every key and shape has to fit; else what fits is loaded and the rest reported in the log.
        param_key: where the weights are in the file; what is found where it is missing, `unwrap` says.

    Raises:
        UserError: the file is missing, damaged or unsafe, holds values that are not finite, or does not fit the network
            (strict), or in no key.
    """
    net = self.get_bare_model(net)
    content = read_weights_only(locate(load_path) or load_path)
    taken = source_of_weights(content, param_key, net.state_dict())
    get_root_logger().info(f'Loading {type(net).__name__} model from {load_path}, with param key: [{taken}].')
    try:
        load_into(net, content, strict=strict, param_key=param_key, source=load_path)
    except Misfit as error:
        anyway = ', or set path.strict_load_g: false to load what fits' if error.some else ': nothing of it fits'
        raise UserError(f'{str(error).removesuffix(".")}. Check network_g against the checkpoint{anyway}.') from error
