"""The layers of window transformers on the active tokens alone, packed; for inference."""
from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from basicsr_amsr.execution.native.attention import attention, depthwise
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.native.linear import linear
from basicsr_amsr.execution.tokens.cells import Cells, Kind, Window
from basicsr_amsr.execution.tokens.whole_maps import (
    LINEAR,
    Bias,
    Moments,
    linear_by_torch,
    of_sums,
    summary,
    weights_of,
)
from basicsr_amsr.execution.torch_sparse.prediction import Prediction, rectified

SIZES = 4  # whose lists are kept


def native_for(value: torch.Tensor) -> bool:
    """Whether the native library takes a value, and nobody watches operators (counters, tracers)."""
    return (value.device.type == 'cpu' and value.dtype == torch.float32 and not torch.is_autocast_enabled('cpu')
            and not torch.is_grad_enabled() and not len(_get_current_dispatch_mode_stack()) and library() is not None)


def depthwise_like(conv: nn.Conv2d) -> bool:
    """Whether the native library has such a convolution."""
    return conv.groups == conv.in_channels == conv.out_channels and conv.kernel_size in ((3, 3), (5, 5), (7, 7))


def rows_of(value: torch.Tensor) -> torch.Tensor:
    """Rows whose channels lie side by side."""
    return value if value.stride(1) == 1 else value.contiguous()


def moments_of_rows(q: torch.Tensor, k: torch.Tensor, heads: int) -> Moments:
    """The moments of an image's rows (n, C)."""
    return Moments.of(q[None], k[None], heads)


def moments_of_all(q: torch.Tensor, k: torch.Tensor, heads: int) -> Moments:
    """The same by one product of all heads with all, of which the blocks of equal ones are taken: fewer passes over
    long rows of few channels."""
    blocks = (q.T @ k).view(heads, q.shape[1] // heads, heads, -1)
    products = blocks.diagonal(0, 0, 2).permute(2, 0, 1)[None]
    return Moments(products, *(each.square().sum(0, keepdim=True) for each in (q, k)))


class BiasTables:
    """A cache from image to image: biases of relative positions by cells, until the weights change, and the lists of
    all cells of the last few sizes."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[Any, Any]] = {}
        self._whole: dict[tuple[int, int, int, int], Cells] = {}

    def of(self, module: nn.Module, bias: Bias, window: Window, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(heads, cells, area, cells, area) of tokens, (heads, cells, area, cells) of cells that are one key."""
        state = tuple((p.data_ptr(), p._version, p.dtype) for p in module.parameters())
        key = (id(module), window.height, window.width, side)
        kept = self._kept.get(key)
        if kept is None or kept[0] != state:
            kept = self._kept[key] = state, by_cells(bias(), window, side)
        return kept[1]

    def whole(self, batch: int, height: int, width: int, side: int) -> Cells:
        """All cells of maps of a size, with their lists."""
        key = batch, height, width, side
        if key not in self._whole:
            while len(self._whole) >= SIZES:
                self._whole.pop(next(iter(self._whole)))
            self._whole[key] = Cells(torch.ones(batch, -(-height // side), -(-width // side), dtype=torch.bool), side,
                                     height, width)
        return self._whole[key]

    def __deepcopy__(self, memo: Any) -> BiasTables:
        return BiasTables()

    def __reduce__(self) -> Any:
        return BiasTables, ()


def by_cells(bias: torch.Tensor, window: Window, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """See `BiasTables.of`."""
    heads, rows, cols = len(bias), window.height // side, window.width // side
    parts = bias.view(heads, rows, side, cols, side, rows, side, cols, side).permute(0, 1, 3, 2, 4, 5, 7, 6, 8)
    tokens = parts.reshape(heads, rows * cols, side**2, rows * cols, side**2).contiguous()
    return tokens, (tokens.mean(4) + math.log(side**2)).contiguous()


class Packed:
    """The active tokens; a value is (count · area, C). The methods are those of `Reference`, and give the same.

    Args:
        x: the LR images (B, C, H, W), as the network pads them.
        prediction: what the other tokens have where active ones read them; None where all are active.
        cells: the active ones.
        biases: kept from image to image.
        bf16: products of linear layers and attention may be of bf16, where the native library computes them and the
            CPU has such instructions; all else stays float32.
    """

    def __init__(self, x: torch.Tensor, prediction: Prediction | None, cells: Cells, biases: BiasTables,
                 bf16: bool = False) -> None:
        self.x, self.prediction, self.cells, self.biases, self.bf16 = x, prediction, cells, biases, bf16
        self.number = 0
        self._band: dict[tuple[int, int], torch.Tensor] = {}
        self._sum: torch.Tensor | None = None

    def start(self, anchor: torch.Tensor) -> None:
        self.anchor = anchor
        self._features = anchor.permute(0, 2, 3, 1).reshape(-1, anchor.shape[1])
        if self.prediction is not None:
            self._merged = rectified(self.cells.merged(anchor.flatten(2).transpose(1, 2)))

    def everywhere(self) -> Packed:
        batch, _, height, width = self.x.shape
        return Packed(self.x, None, self.biases.whole(batch, height, width, self.cells.side), self.biases,
                      self.bf16)

    def pack(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.reshape(-1, tokens.shape[-1]).index_select(0, self.cells.place)

    def unpack(self, value: torch.Tensor) -> torch.Tensor:
        rows = value.new_empty(self.x.shape[0] * self.x.shape[-2] * self.x.shape[-1], value.shape[1])
        self._write(rows, value)
        return rows.view(len(self.x), -1, value.shape[1])

    def linear(self, value: torch.Tensor, layer: nn.Module, norm: nn.LayerNorm | None = None, gelu: bool = False,
               add: torch.Tensor | None = None) -> torch.Tensor:
        loaded = library() if native_for(value) and isinstance(layer, LINEAR) else None
        if loaded is None:
            return linear_by_torch(value, layer, norm, gelu, add)
        return linear(loaded, value, *weights_of(layer), norm=norm, gelu=gelu, add=add, bf16=self.bf16)

    def conv(self, value: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        reach = conv.kernel_size[0] // 2, conv.kernel_size[1] // 2
        halo = self.cells.halo(*reach)
        others = torch.cat([*self._of_band(self._next(), reach), value.new_zeros(1, value.shape[1])])
        loaded = library() if native_for(value) and depthwise_like(conv) else None
        if loaded is not None:
            bias = None if conv.bias is None else conv.bias.detach()
            return depthwise(loaded, rows_of(value), others, halo.native, conv.weight, bias)
        store = torch.cat([value, others])
        most = max(reach)
        side = self.cells.side + 2 * most
        read = store.index_select(0, halo.index.flatten()).view(-1, side, side, value.shape[1])
        read = read[:, most - reach[0]:side - most + reach[0], most - reach[1]:side - most + reach[1]]
        made = F.conv2d(read.permute(0, 3, 1, 2), conv.weight, conv.bias, groups=conv.groups)
        return made.permute(0, 2, 3, 1).reshape(len(value), -1)

    def max_pool(self, value: torch.Tensor, kernel: int) -> torch.Tensor:
        halo = self.cells.halo(kernel // 2, kernel // 2)
        lowest = value.new_full((1, value.shape[1]), -torch.inf)
        store = torch.cat([value, *self._of_band(self._next(), (kernel // 2, kernel // 2)), lowest])
        read = store.index_select(0, halo.index.flatten()).view(*halo.index.shape, value.shape[1])
        made = F.max_pool2d(read.permute(0, 3, 1, 2), kernel, 1)
        return made.permute(0, 2, 3, 1).reshape(len(value), -1)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        number, sums = self._next(), self._sums(value)
        if self.prediction is not None:
            sums = sums + self._of_skipped(number)
        return sums / (self.x.shape[-2] * self.x.shape[-1])

    def moments(self, q: torch.Tensor, k: torch.Tensor, heads: int) -> Moments:
        number = self._next()
        if self.cells.outside is not None:
            q = q.index_fill(0, self.cells.outside, 0)
        of = moments_of_all if native_for(q) else moments_of_rows
        parts = [of(a, b, heads) for a, b in zip(
            q.split(self.cells.of_image), k.split(self.cells.of_image), strict=True)]
        found = Moments(*(torch.cat(each) for each in zip(*parts, strict=True)))
        if self.cells.outside is not None:
            found = found._replace(keys=self._sums(k.square()))
        return found if self.prediction is None else found.plus(self._of_skipped(number))

    def times(self, value: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        loaded = library() if native_for(value) else None
        if loaded is not None:  # zeros between the heads cost less than products of ten channels each
            return torch.cat([linear(loaded, rows, torch.block_diag(*matrix), bf16=self.bf16) for rows, matrix in zip(
                value.split(self.cells.of_image), matrices, strict=True)])
        parts = [torch.bmm(rows.view(len(rows), len(matrix), matrix.shape[2]).transpose(0, 1), matrix.transpose(1, 2))
                 for rows, matrix in zip(value.split(self.cells.of_image), matrices, strict=True)]
        return torch.cat(parts, 1).transpose(0, 1).reshape(value.shape)

    def spread(self, of_image: torch.Tensor) -> torch.Tensor:
        return of_image if len(of_image) == 1 else of_image.index_select(0, self.cells.of_row)

    def keys(self, value: torch.Tensor) -> torch.Tensor:
        number, zeros = self._next(), value.new_zeros(1, value.shape[1])
        if self.prediction is None:
            return torch.cat([value, zeros])
        return torch.cat([value, zeros, self.prediction.contexts[number].linear(self._merged).to(value.dtype)])

    def attention(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, window: Window, heads: int,
                  scale: float, bias: Bias, module: nn.Module) -> torch.Tensor:
        near, far = self.biases.of(module, bias, window, self.cells.side)
        lists = self.cells.windows(window)
        loaded = library() if native_for(q) else None
        if loaded is not None:
            return attention(loaded, lists.native, q, keys, values, near, far, heads, scale, self.bf16)
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        for kind in lists.kinds:
            rows, attended = self._attend(kind, q, keys, values, near, far, heads, scale)
            out.index_copy_(0, rows, attended)
        return out

    def _attend(self, kind: Kind, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, near: torch.Tensor,
                far: torch.Tensor, heads: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention in windows with equal numbers of cells, by torch: rows and what they get."""
        area, count = self.cells.area, kind.token.shape[1]
        shape = len(kind.query), heads, kind.query_rows.shape[1], -1

        def rows(store: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            chosen = store.index_select(0, index.flatten())
            return chosen.view(*index.shape, heads, -1).transpose(1, 2)  # (n, heads, tokens, c)

        to_tokens = near[:, kind.query[:, :, None], :, kind.token[:, None]]  # (n, a, t, heads, area, area)
        to_tokens = to_tokens.permute(0, 3, 1, 4, 2, 5).reshape(shape)
        to_cells = far[:, kind.query[:, :, None], :, kind.merged[:, None]]  # (n, a, m, heads, area)
        to_cells = to_cells.permute(0, 3, 1, 4, 2).reshape(*shape[:3], kind.merged.shape[1])
        if kind.query_regions is not None and kind.key_regions is not None:
            apart = (kind.query_regions[:, :, None] != kind.key_regions[:, None]).to(near.dtype)
            apart = -100.0 * apart.repeat_interleave(area, 1)[:, None]
            to_tokens = to_tokens + apart[..., :count].repeat_interleave(area, 3)
            to_cells = to_cells + apart[..., count:]
        scores = torch.cat([to_tokens, to_cells], 3).to(q.dtype)
        products = (rows(q, kind.query_rows) * scale) @ rows(keys, kind.key_rows).transpose(-1, -2)
        attended = scores.add_(products).softmax(-1) @ rows(values, kind.key_rows)
        return kind.query_rows.flatten(), attended.transpose(1, 2).reshape(-1, q.shape[1])

    def picture(self, value: torch.Tensor, scale: int) -> torch.Tensor:
        if self.prediction is None:
            return F.pixel_shuffle(self._map(self.unpack(value)), scale)
        tail = self.prediction.tail
        assert tail is not None
        image = F.conv2d(tail.padded(self.x), tail.image) + F.conv2d(
            self.anchor, tail.feature.weight[:, :, None, None], tail.feature.bias)
        rows = image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])
        self._write(rows, value)
        return F.pixel_shuffle(self._map(rows), scale)

    def whole(self, value: torch.Tensor) -> torch.Tensor:
        number = self._next()
        if self.prediction is None:
            return self._map(self.unpack(value))
        maps = self.prediction.contexts[number].map(rectified(self.anchor)).to(value.dtype)
        rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        self._write(rows, value)
        return self._map(rows)

    def _map(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of all tokens as (B, C, H, W)."""
        return rows.view(len(self.x), *self.x.shape[-2:], -1).permute(0, 3, 1, 2)

    def _write(self, rows: torch.Tensor, value: torch.Tensor) -> None:
        place = self.cells.place
        if self.cells.outside is not None:
            kept = torch.ones(len(place), dtype=torch.bool, device=place.device)
            kept[self.cells.outside] = False
            place, value = place[kept], value[kept]
        rows.index_copy_(0, place, value.to(rows.dtype))

    def _next(self) -> int:
        self.number += 1
        return self.number - 1

    def _sums(self, value: torch.Tensor) -> torch.Tensor:
        """Over active tokens, (B, C)."""
        if self.cells.outside is not None:
            value = value.index_fill(0, self.cells.outside, 0)
        return torch.stack([rows.sum(0) for rows in value.split(self.cells.of_image)])

    def _of_band(self, number: int, reach: tuple[int, int]) -> list[torch.Tensor]:
        if self.prediction is None:
            return []
        if reach not in self._band:
            self._band[reach] = rectified(self._features.index_select(0, self.cells.halo(*reach).band))
        return [self.prediction.contexts[number].linear(self._band[reach])]

    def _of_skipped(self, number: int) -> torch.Tensor:
        assert self.prediction is not None
        skipped, area = self.cells.skipped, self.cells.area
        if self._sum is None:
            seen = self.cells.merged(summary(self.anchor).flatten(2).transpose(1, 2)) * area
            self._sum = seen.new_zeros(self.cells.batch, seen.shape[1]).index_add_(0, skipped[:, 0], seen)
        counts = torch.bincount(skipped[:, 0], minlength=self.cells.batch)[:, None] * area
        return of_sums(self.prediction.contexts[number], self._sum, counts)
