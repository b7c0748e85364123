"""Linear layers of rows by the native library."""
from __future__ import annotations

import torch
from torch import nn

from basicsr_amsr.execution.native.library import Library, run_with_scratch
from basicsr_amsr.execution.native.tables import CLinear


def linear(library: Library, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *,
           norm: nn.LayerNorm | None = None, gelu: bool = False, add: torch.Tensor | None = None,
           bf16: bool = False) -> torch.Tensor:
    """act(norm(rows) · weightᵀ + bias) + add in float32, (n, outputs).

    Args:
        rows: (n, inputs). weight: (outputs, inputs). add: (n, outputs).
        norm: over the inputs. gelu: the activation; else there is none.
        bf16: products may be of bf16, where the CPU has them; sums are float32 all the same.
    """
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    if add is not None and add.stride(1) != 1:
        add = add.contiguous()
    held = [each if each is None else each.detach().contiguous() for each in (
        weight, bias, *((None, None) if norm is None else (norm.weight, norm.bias)))]
    out = torch.empty(len(rows), len(weight))
    pointers = [None if each is None else each.data_ptr() for each in held]
    c = CLinear(input=rows.data_ptr(), weights=pointers[0], bias=pointers[1], factor=pointers[2], offset=pointers[3],
                add=None if add is None else add.data_ptr(), out=out.data_ptr(), in_row=rows.stride(0),
                add_row=0 if add is None else add.stride(0), out_row=out.stride(0), rows=len(rows),
                inputs=rows.shape[1], outputs=len(weight), threads=min(torch.get_num_threads(), 255),
                normalised=norm is not None, gelu=gelu, bf16=bf16, epsilon=0.0 if norm is None else norm.eps)
    run_with_scratch(library, 'linear', c)
    return out
