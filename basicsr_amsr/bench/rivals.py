"""What a user could take instead: PyTorch's other ways, and engines that run an exported graph."""
from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence

import torch

from basicsr_amsr.bench.contenders import COMPILED, EXPORTED, ONNXRUNTIME, OPENVINO, Contender
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError, suggestion

COMPILE, STOCK = 'compile', 'stock'
RIVALS = (COMPILE, *EXPORTED, STOCK)
PACKAGES = {OPENVINO: ('openvino',), ONNXRUNTIME: ('onnx', 'onnxscript', 'onnxruntime')}


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The rivals of these names, all where there are none.

    Raises:
        UserError: an unknown name.
    """
    for name in names:
        if name not in RIVALS:
            raise UserError(f"--rivals '{name}' is unknown. {suggestion(name, RIVALS)}")
    return tuple(dict.fromkeys(names)) or RIVALS


def rivals_of(ours: Sequence[Contender], wanted: Sequence[str], device: torch.device,
              dtype: torch.dtype) -> Iterator[Contender]:
    """The rivals of a network's own forms, as far as there are any on the device in the dtype.

    Args:
        ours: dense ones, of which channels-last is the last, and MGA's: references, and patches, whose number is fixed
            by the size of the image, so that they can be exported too.
        wanted: of RIVALS.
    """
    dense = [one for one in ours if one.kind == 'dense'][-1]
    if COMPILE in wanted:
        yield alike(dense, backend=COMPILED)
    if STOCK in wanted and device.type == 'cpu':
        yield alike(dense, form=f'{dense.form}, stock allocator', kind='reference', stock=True)
    for engine in EXPORTED:
        if engine not in wanted or device.type != 'cpu' or (engine == ONNXRUNTIME and dtype != torch.float32):
            continue
        yield alike(dense, form='dense', backend=engine, view=View('dense', 'NCHW'))
        for one in ours:
            if one.kind == 'reference' or one.view.rule == 'mga':
                yield alike(one, backend=engine, view=dataclasses.replace(one.view, layout='NCHW'))


def alike(one: Contender, **changes: object) -> Contender:
    """The same form run in another way."""
    return dataclasses.replace(one, **{'net': None, 'like': one.name, 'equalities': (), **changes})  # type: ignore[arg-type]


def absent(backend: str) -> list[str]:
    """The packages that a backend needs and that are not installed."""
    return [name for name in PACKAGES.get(backend, ()) if importlib.util.find_spec(name) is None]
