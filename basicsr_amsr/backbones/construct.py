"""Builds the network that options describe."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from basicsr_amsr.backbones.spec import get_backbone
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY, lookup


def build(network: Mapping[str, Any]) -> nn.Module:
    """The network that `{type: NAME, …}` describes; NAME is a backbone's, else one of BasicSR's ARCH registry."""
    options = dict(network)
    name = options.pop('type')
    if name in BACKBONE_REGISTRY:
        return get_backbone(name).create(**options)
    return lookup(ARCH_REGISTRY, name)(**options)
