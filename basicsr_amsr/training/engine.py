"""`val: engine`: what runs plain and mask-guided networks on a CPU while a model tests."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from basicsr.utils import get_root_logger
from torch import nn

from basicsr_amsr.amsr.accelerate import ConvertedNetwork, accelerate_, restore_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.network import MGA

NETWORKS = ('net_g', 'net_g_ema')


@contextmanager
def by_engine(model: Any, name: str) -> Iterator[None]:
    """Inside, a model's plain and mask-guided networks run by the engine of that name; afterwards as before.

    One that the kernels cannot run stays with torch, and the log says why.
    """
    nets = [getattr(model, network, None) for network in NETWORKS]
    guided = [(net, net.engine) for net in nets if isinstance(net, MGA)]
    for mga, _ in guided:
        mga.set_engine(name)
    converted: list[nn.Module] = []
    for net in nets if name == 'native' else []:
        if not isinstance(net, nn.Module) or isinstance(net, (MGA, ConvertedNetwork)):
            continue
        try:
            report = accelerate_(net, AMSRConfig(mode='dense', backend='native'))
            get_root_logger().info(f'val: engine: native: {report}')
            converted.append(net)
        except UserError as error:
            get_root_logger().warning(f'val: engine: native: {error}')
    try:
        yield
    finally:
        for net in converted:
            restore_(net)
        for mga, before in guided:
            mga.set_engine(before)
