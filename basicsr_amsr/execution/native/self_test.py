"""What `basicsr doctor` says of the native kernels: which run, or why none, and whether they compute as torch does."""
from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from basicsr_amsr.execution.native.library import Library, library, why_not
from basicsr_amsr.execution.native.program import METHODS, Program
from basicsr_amsr.execution.native.runner import Runner

TOLERANCE = {'float32': 1e-5, 'bfloat16': .05}  # of the root mean square; Winograd in bf16 is at 0.013


def examine_native(problems: list[str]) -> dict[str, Any]:
    """State of the native kernels; a line in `problems` where they compute something else than torch.

    Their absence is no problem: everything works through torch then.
    """
    loaded = library()
    if loaded is None:
        return {'in use': None, 'reason': why_not()}
    for dtype in TOLERANCE:
        for method in METHODS:
            if method == 'winograd6' and dtype != 'float32':
                continue
            difference = _difference(loaded, dtype, method)
            if not difference < TOLERANCE[dtype]:
                problems.append(f'The native kernels ({loaded.isa}, {method}, {dtype}) differ from torch by '
                                f'{difference:.3g}: set BASICSR_AMSR_NATIVE=0, and please report it.')
    return {'in use': loaded.isa, 'available': ', '.join(loaded.available), 'bf16 instructions': loaded.has_bf16,
            'library': str(loaded.path)}


def _difference(loaded: Library, dtype: str, method: str) -> float:
    """Root mean square of the error, relative to that of the values."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(16, 22, 19, generator=generator)
    weight = torch.randn(20, 16, 3, 3, generator=generator) / 12
    program = Program()
    given, result = program.image(16), program.image(20)
    inside, out = program.map(16, dtype=dtype), program.map(20, dtype=dtype)
    program.pointwise(given, inside)
    patches = program.patches(edge=6) if method == 'winograd6' else None
    program.conv(inside, weight, None, out, out_channels=20, method=method, compute=dtype, patches=patches)
    program.pointwise(out, result)
    found = torch.zeros(20, 22, 19)
    Runner(program, loaded).run({given: image, result: found})
    wanted = F.conv2d(image[None], weight, padding=1)[0]
    return ((found - wanted).square().mean() / wanted.square().mean()).sqrt().item()
