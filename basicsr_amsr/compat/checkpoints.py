"""Loading network weights in BasicSR's models: as data only, with one line for what does not fit."""
from __future__ import annotations

from typing import Any

from basicsr.utils import get_root_logger
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.safe_load import read_weights_only


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
        UserError: the file is missing, damaged or unsafe, or (strict) does not fit the network.
    """
    # Imported when called: this module is applied before anything that imports BasicSR, as the backbones do.
    from basicsr_amsr.backbones.checkpoint import describe_misfit, prepare_state_dict
    from basicsr_amsr.backbones.pretrained import locate

    net = self.get_bare_model(net)
    content = read_weights_only(locate(load_path) or load_path)
    weights = prepare_state_dict(net, content, param_key, source=load_path)
    get_root_logger().info(f'Loading {type(net).__name__} model from {load_path}, with param key: [{param_key}].')
    problem = describe_misfit(net, content, load_path, param_key, prepared=weights) if strict else None
    if problem:
        raise UserError(f'{problem.removesuffix(".")}. Check network_g against the checkpoint, or set '
                        'path.strict_load_g: false to load what fits.')
    if not strict:
        self._print_different_keys_loading(net, weights, strict)
    net.load_state_dict(weights, strict=strict)
