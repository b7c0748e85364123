"""The registries: BasicSR's own five, and ours, which are instances of the same class."""
from __future__ import annotations

from typing import Any

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from basicsr_amsr.compat.registry_get import get

__all__ = [
    'ARCH_REGISTRY',
    'BACKBONE_REGISTRY',
    'DATASET_REGISTRY',
    'LOSS_REGISTRY',
    'METRIC_REGISTRY',
    'MODEL_REGISTRY',
    'REGISTRIES',
    'SELECTION_REGISTRY',
    'TRANSFORM_REGISTRY',
    'lookup',
]

BACKBONE_REGISTRY = Registry('backbone')
SELECTION_REGISTRY = Registry('selection')
TRANSFORM_REGISTRY = Registry('transform')

REGISTRIES: dict[str, Registry] = {
    'arch': ARCH_REGISTRY,
    'model': MODEL_REGISTRY,
    'dataset': DATASET_REGISTRY,
    'loss': LOSS_REGISTRY,
    'metric': METRIC_REGISTRY,
    'backbone': BACKBONE_REGISTRY,
    'selection': SELECTION_REGISTRY,
    'transform': TRANSFORM_REGISTRY,
}


def lookup(registry: Registry, name: str) -> Any:
    """The object registered as `name`.

    Raises:
        UnknownName: there is none; the message lists the near names.
    """
    return get(registry, name)
