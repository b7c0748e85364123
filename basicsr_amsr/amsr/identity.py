"""What the time of a converted network depends on, beside machine and images."""
from __future__ import annotations

import hashlib
from typing import Any

import torch

from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.cost.model import Subject
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.execution.openvino import openvino_version


def subject_of(net: Any, device: torch.device) -> Subject:
    """A converted network as a subject of costs: its structure and how it skips, on which its time depends."""
    config, layout = net.amsr, next((p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters()
                                     if p.dim() == 4), None)
    selection, backend = config.selection, type(backend_for(config.backend, device)).__name__
    native = net.calibrated is not None or (net.units is not None and selection.patch_size % PATCH == 0)
    loaded = library() if native and config.backend == 'auto' and device.type == 'cpu' else None
    if loaded is not None:
        backend = f'native, {loaded.isa}'
    how = (config.unit, backend, selection.patch_size, getattr(selection, 'smooth', None), layout)
    return Subject(f'AMSR {net.plain_class.__name__}', f'{known_structure(net)} {how}')


def whole_subject(net: Any) -> Subject:
    """As `subject_of`, for the engines that run a network as a whole: its structure, and which engines there are."""
    loaded = library()
    engines = ('no native kernels' if loaded is None else loaded.isa, openvino_version())
    return Subject(f'{net.plain_class.__name__} as a whole', f'whole {known_structure(net)} {engines}')


def known_structure(net: Any) -> str:
    """`structure_of`, made once for a converted network."""
    if net.structure is None:
        net.structure = structure_of(net)
    return net.structure


def structure_of(net: Any) -> str:
    """A hash of a converted network's modules, of which of them skip, and of what predictions cost."""
    skips = [(path, type(module.skip).__name__) for path, module in net.named_modules() if 'skip' in vars(module)]
    shapes = [(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()]
    predicted: Any = None
    if net.calibrated is not None:
        contexts, tail = net.calibrated.prediction.contexts, net.calibrated.prediction.tail
        predicted = ([(value, tuple(affine.weight.shape), affine.macs) for value, affine in sorted(contexts.items())],
                     tail and (tuple(tail.image.shape), tuple(tail.feature.weight.shape)))
    text = repr((net.plain_class.__module__, net.plain_class.__qualname__, repr(net), shapes, skips, predicted))
    return hashlib.sha256(text.encode()).hexdigest()[:24]
