"""What the registries hold, and where it comes from."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr.backbones.spec import Backbone
from basicsr_amsr.plugins import load_installed
from basicsr_amsr.registry import BACKBONE_REGISTRY, REGISTRIES

ORIGINS = {'basicsr': 'BasicSR', 'basicsr_amsr': 'basicsr_amsr'}


def entries(kinds: Sequence[str]) -> list[dict[str, Any]]:
    """What every registry of these kinds holds, with what installed plugins register."""
    for problem in load_installed():
        print(f'basicsr: warning: {problem}', file=sys.stderr)
    return [entry for kind in kinds for entry in held(kind)]


def held(kind: str) -> list[dict[str, Any]]:
    """What a registry holds, by name: kind, name, module, from (BasicSR, basicsr_amsr, or the plugin's package).

    Backbones, and networks that a backbone of that name describes, say also the acceleration methods that support
    them and their scales.
    """
    found = []
    for name, registered in sorted(REGISTRIES[kind], key=lambda item: item[0].lower()):
        owner = getattr(registered, '__self__', registered)  # a backbone's `create` stands for it among the networks
        module = owner.origin if isinstance(owner, Backbone) else registered.__module__
        package = module.split('.')[0]
        entry: dict[str, Any] = {'kind': kind, 'name': name, 'module': module,
                                 'from': ORIGINS.get(package, f'plugin {package}')}
        if kind in ('arch', 'backbone') and name in BACKBONE_REGISTRY:
            backbone = BACKBONE_REGISTRY.get(name)
            entry.update(methods=list(backbone.methods), scales=list(backbone.scales))
        found.append(entry)
    return found
