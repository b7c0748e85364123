"""The memory format of a network's weights."""
from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Net = TypeVar('Net', bound=nn.Module)


def lay_out(net: Net, layout: torch.memory_format = torch.channels_last) -> Net:
    """Give weights and buffers of four dimensions a memory format, in place; the network.

    `net.to(memory_format=torch.channels_last)` fails where a network has a tensor of five.
    """
    net._apply(lambda tensor: tensor.to(memory_format=layout) if tensor.dim() == 4 else tensor)
    return net
