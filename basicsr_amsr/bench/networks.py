"""The networks that are measured: those of option files, or by name with random weights."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import ConvertedNetwork, accelerate_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.plugins import load_installed, load_plugins
from basicsr_amsr.profiling import subject
from basicsr_amsr.registry import BACKBONE_REGISTRY

MGA_PREFIX = 'MGA-'
PROBE_SIDE = 16  # pixels of an image that tells the scale


class Built(NamedTuple):
    """A network in eval mode on the CPU that selects (MGA, or converted by `accelerate_`).

    Attributes:
        net: the network. weights: what its weights are. trained: whether they are of a file.
    """

    net: Any
    weights: str
    trained: bool


@dataclass(frozen=True)
class Network:
    """A network by the name that the tables give it.

    Args:
        name: unique in a run.
        opt: checked options with a `network_g:`.
        file: the option file that they are of, beside which its plugins are; None: of a name.
    """

    name: str
    opt: Mapping[str, Any]
    file: str | None = None

    @property
    def channels(self) -> int:
        """How many channels its images have."""
        return subject.input_channels(self.opt['network_g'])

    def load_plugins(self) -> None:
        """Load what the network may be of, in a process that has not read the option file."""
        if self.file is not None:
            load_plugins(self.opt, self.file)
        else:
            load_installed()

    def build(self) -> Built:
        """The network, its random weights always the same; a plain one is converted with the default options.

        Raises:
            UserError: it cannot be built or accelerated, or its weights do not fit.
        """
        torch.manual_seed(0)
        net = subject.build(self.opt)
        weights = subject.load_weights(net, self.opt) if 'path' in self.opt else 'random'
        if not isinstance(net, (MGA, ConvertedNetwork)):
            _accelerate(net)
        if isinstance(net, ConvertedNetwork) and net.native is None:
            accelerate_(net, dataclasses.replace(net.amsr, mode='sparse'))  # what is faster is found out here
        return Built(net.eval(), weights, subject.weights_file(self.opt) is not None)


def _accelerate(net: nn.Module) -> None:
    """Accelerate a network by the default options, or as a whole where it has no units to skip."""
    try:
        accelerate_(net)
    except UserError:
        accelerate_(net, AMSRConfig(mode='dense'))


def by_name(name: str, upscale: int) -> Network:
    """A backbone, to be accelerated by AMSR, or 'MGA-' and a backbone, with published options and random weights.

    Raises:
        UserError: there is none of that name that can be accelerated so; names the near ones.
    """
    method, family = ('MGA', name.removeprefix(MGA_PREFIX)) if name.startswith(MGA_PREFIX) else ('AMSR', name)
    if name not in known_names():
        raise UserError(f"--network '{name}' is no network that can be accelerated. {suggestion(name, known_names())}")
    return Network(name, {'network_g': {'type': method, 'backbone': {'type': family, 'upscale': upscale}}})


def known_names() -> list[str]:
    """Every name that `by_name` takes."""
    methods = {name: backbone.methods for name, backbone in BACKBONE_REGISTRY}
    return [*(name for name, ways in methods.items() if 'amsr' in ways),
            *(f'{MGA_PREFIX}{name}' for name, ways in methods.items() if 'mga' in ways)]


@torch.no_grad()
def scale_of(net: nn.Module, channels: int) -> int:
    """Output side over input side."""
    return int(net(torch.zeros(1, channels, PROBE_SIDE, PROBE_SIDE)).shape[-1]) // PROBE_SIDE
