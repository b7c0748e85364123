"""What spandrel's ModelLoader returns: a network with what is known of it around."""
from __future__ import annotations

from typing import Protocol

from torch import nn


class Descriptor(Protocol):
    """An ImageModelDescriptor of spandrel, as far as it is used here."""

    @property
    def model(self) -> nn.Module:
        """The network."""


def network_in(net: nn.Module | Descriptor) -> nn.Module:
    """The network itself."""
    return net if isinstance(net, nn.Module) else net.model
