"""Layers of window transformers by the native library: attention within windows, depthwise convolutions of cells."""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch

from basicsr_amsr.execution.native.library import Library, address, run_with_scratch
from basicsr_amsr.execution.native.tables import CAttention, CStencil


class AttentionLists:
    """The windows of a mask, as the library takes them: what is the same for all layers.

    Args:
        kinds: as in `WindowLists`. area: tokens of a cell. cells: of a window.
    """

    def __init__(self, kinds: Any, area: int, cells: int) -> None:
        self.windows, self.area, self.cells = sum(len(kind[0]) for kind in kinds), area, cells
        sizes: list[list[int]] = [[], [], [], []]
        flat: dict[str, list[torch.Tensor]] = {name: [] for name in (
            'query_cells', 'query_rows', 'key_cells', 'key_rows', 'query_regions', 'key_regions')}
        for query, token, merged, query_rows, key_rows, query_regions, key_regions in kinds:
            for held, number in zip(sizes, (query.shape[1], token.shape[1] + merged.shape[1], key_rows.shape[1],
                                            token.shape[1]), strict=True):
                held += [number] * len(query)
            flat['query_cells'].append(query)
            flat['query_rows'].append(query_rows[:, ::area])
            flat['key_cells'].append(torch.cat([token, merged], 1))
            flat['key_rows'].append(key_rows)
            if query_regions is not None:
                flat['query_regions'].append(query_regions)
                flat['key_regions'].append(key_regions)
        self.held = {name: torch.cat([part.flatten() for part in parts]).int().numpy()
                     for name, parts in flat.items() if parts}
        for name, held in zip(('query_start', 'cell_start', 'key_start'), sizes, strict=False):
            self.held[name] = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
        self.held['whole'] = np.array(sizes[3], np.int32)


def attention(library: Library, lists: AttentionLists, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
              near_bias: torch.Tensor, far_bias: torch.Tensor, heads: int, scale: float,
              bf16: bool = False) -> torch.Tensor:
    """softmax(scale · q · kᵀ + bias) · v in float32, for all windows and heads.

    Args:
        query: (n, C) rows. key, value: (m, C) rows; of all of them channels are contiguous.
        near_bias: (heads, cells, area, cells, area), far_bias: (heads, cells, area, cells), contiguous.
        heads: C / heads channels each.
        bf16: products may be of bf16, where the CPU has them; scores and sums are float32 all the same.
    """
    out = torch.empty(len(query), query.shape[1])
    if not lists.windows:
        return out
    c = CAttention(query=query.data_ptr(), key=key.data_ptr(), value=value.data_ptr(), out=out.data_ptr(),
                   query_row=query.stride(0), key_row=key.stride(0), value_row=value.stride(0), out_row=out.stride(0),
                   near_bias=near_bias.data_ptr(), far_bias=far_bias.data_ptr(), windows=lists.windows, heads=heads,
                   channels=query.shape[1] // heads, cells=lists.cells, area=lists.area,
                   threads=min(torch.get_num_threads(), 255), bf16=bf16, scale=scale,
                   **{name: address(held) for name, held in lists.held.items()})
    run_with_scratch(library, 'attention', c)
    return out


def depthwise(library: Library, value: torch.Tensor, others: torch.Tensor, index: np.ndarray, weight: torch.Tensor,
              bias: torch.Tensor | None) -> torch.Tensor:
    """A depthwise convolution of listed cells in float32, (n, C) rows to as many.

    Args:
        value: (n, C) rows of the cells. others: further rows; of both channels are contiguous.
        index: int32 (cells, side + kernel - 1, the same), rows of value, and behind them of the others.
        weight: (C, 1, kernel, kernel), odd; side + kernel at most 17.
    """
    kernel, channels = weight.shape[-1], value.shape[1]
    taps = weight.detach().flatten(1).T.contiguous()
    out = torch.empty(len(value), channels)
    c = CStencil(rows=value.data_ptr(), others=others.data_ptr(), index=address(index), weights=taps.data_ptr(),
                 bias=None if bias is None else bias.data_ptr(), out=out.data_ptr(), row=value.stride(0),
                 other_row=others.stride(0), out_row=channels, count=len(value), cells=len(index),
                 side=index.shape[1] - kernel + 1, kernel=kernel, channels=channels,
                 threads=min(torch.get_num_threads(), 255))
    library.c.amsr_stencil(ctypes.byref(c))
    return out
