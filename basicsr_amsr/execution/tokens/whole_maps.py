"""The layers of window transformers on whole maps, with predictions put in where tokens are skipped: what is fitted,
the form that trains, and the reference of the packed one."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.tokens.cells import Cells, Window
from basicsr_amsr.execution.torch_sparse.prediction import Affine, Prediction, rectified

Bias = Callable[[], torch.Tensor]
LINEAR = (nn.Linear, nn.Conv2d)  # whose weights say what they do: not what wraps or quantises them


class Moments(NamedTuple):
    """Sums over tokens: of q·kᵀ within each head (B, heads, c, c), and of the squares of q and k (B, C)."""

    products: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor

    @classmethod
    def of(cls, q: torch.Tensor, k: torch.Tensor, heads: int) -> Moments:
        """The moments of tokens (B, n, C)."""
        parts = [each.view(*each.shape[:2], heads, each.shape[2] // heads) for each in (q, k)]
        return cls(torch.einsum('bnhc,bnhd->bhcd', *parts), q.square().sum(1), k.square().sum(1))

    def flat(self) -> torch.Tensor:
        """(B, heads · c² + 2 C)."""
        return torch.cat([self.products.flatten(1), self.queries, self.keys], 1)

    def plus(self, flat: torch.Tensor) -> Moments:
        """The sum with what `flat` holds, (B, heads · c² + 2 C), added; squares stay over 0."""
        channels = self.queries.shape[1]
        products = self.products + flat[:, :-2 * channels].view_as(self.products)
        queries, keys = self.queries + flat[:, -2 * channels:-channels], self.keys + flat[:, -channels:]
        return Moments(products, queries.clamp(min=1e-12), keys.clamp(min=1e-12))


def linear_by_torch(value: torch.Tensor, layer: nn.Module, norm: nn.LayerNorm | None, gelu: bool,
                    add: torch.Tensor | None) -> torch.Tensor:
    """See `Reference.linear`."""
    value = value if norm is None else norm(value)
    made = F.linear(value, *weights_of(layer)) if isinstance(layer, LINEAR) else layer(value)
    made = F.gelu(made) if gelu else made
    return made if add is None else made + add


def weights_of(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The matrix and the bias of a linear layer or a 1x1 convolution."""
    return layer.weight.flatten(1), layer.bias


def summary(anchor: torch.Tensor) -> torch.Tensor:
    """The features from which sums over tokens are predicted: `rectified` and squares, (B, 3 C, H, W)."""
    return torch.cat([rectified(anchor), anchor.square()], 1)


def of_sums(affine: Affine, sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The predicted sum over tokens, from sums of their features (B, ·) and their number (B, 1)."""
    return affine.linear(sums, bias=False) + counts * affine.bias


class Reference:
    """Runs the layers of a window transformer on all tokens; a value is (B, H · W, C).

    Args:
        x: the LR images (B, C, H, W), as the network pads them.
        prediction: gives the values of skipped tokens that active ones read; None: nothing is skipped.
        cells: the active ones.

    Attributes:
        number: of the reads so far; predictions are numbered by it.
    """

    def __init__(self, x: torch.Tensor, prediction: Prediction | None = None, cells: Cells | None = None) -> None:
        self.x, self.prediction, self.cells = x, prediction, cells
        self.height, self.width = x.shape[-2:]
        self.number = 0

    def start(self, anchor: torch.Tensor) -> None:
        """Takes the map (B, C, H, W) that predictions are made of; all before it was computed everywhere."""
        self.anchor = anchor

    def everywhere(self) -> Reference:
        """The same layers on all tokens of the same images, for what is computed everywhere."""
        return Reference(self.x)

    def unpack(self, value: torch.Tensor) -> torch.Tensor:
        """All tokens (B, H · W, C) of a value of `everywhere`."""
        return value

    def pack(self, tokens: torch.Tensor) -> torch.Tensor:
        """The active ones of all tokens (B, H · W, C)."""
        return tokens

    def linear(self, value: torch.Tensor, layer: nn.Module, norm: nn.LayerNorm | None = None, gelu: bool = False,
               add: torch.Tensor | None = None) -> torch.Tensor:
        """act(layer(norm(value))) + add, of a linear layer or a 1x1 convolution."""
        return linear_by_torch(value, layer, norm, gelu, add)

    def conv(self, value: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        """A convolution that keeps height and width."""
        return self._tokens(conv(self._map(self._around(value))))

    def max_pool(self, value: torch.Tensor, kernel: int) -> torch.Tensor:
        """The largest value around each token, of those in the map."""
        return self._tokens(F.max_pool2d(self._map(self._around(value)), kernel, 1, kernel // 2))

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The average over the image, (B, C)."""
        number = self._next()
        value = self._recorded('sum', number, value)
        if self.prediction is None:
            return value.mean(1)
        assert self.cells is not None
        active = torch.where(self.cells.mask, value, 0).sum(1)
        return (active + self._of_skipped(number)) / value.shape[1]

    def moments(self, q: torch.Tensor, k: torch.Tensor, heads: int) -> Moments:
        """The moments of queries and keys over the image, for attention between channels."""
        number = self._next()
        self._recorded('moments', number, torch.cat([q, k], 2), heads)
        if self.prediction is None:
            return Moments.of(q, k, heads)
        assert self.cells is not None
        q, k = (torch.where(self.cells.mask, each, 0) for each in (q, k))
        return Moments.of(q, k, heads).plus(self._of_skipped(number))

    def times(self, value: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """Each head's channels times its image's matrix (B, heads, c, d): value · matrixᵀ."""
        parts = value.view(*value.shape[:2], matrices.shape[1], -1)
        return torch.einsum('bhcd,bnhd->bnhc', matrices, parts).reshape(*value.shape[:2], -1)

    def spread(self, of_image: torch.Tensor) -> torch.Tensor:
        """One number per image and channel (B, C), in a shape that broadcasts against values."""
        return of_image[:, None]

    def keys(self, value: torch.Tensor) -> torch.Tensor:
        """Keys and values of attention, side by side; a skipped cell has one for all of its tokens."""
        number = self._next()
        value = self._recorded('cell', number, value)
        if self.prediction is None:
            return value
        assert self.cells is not None
        means = self.prediction.contexts[number].map(rectified(self.cells.means(self.anchor)))
        side = self.cells.side
        wide = means.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :self.height, :self.width]
        return torch.where(self.cells.mask, value, self._tokens(wide).to(value.dtype))

    def attention(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, window: Window, heads: int,
                  scale: float, bias: Bias, module: nn.Module) -> torch.Tensor:
        """softmax(scale · q · kᵀ + bias) · v within windows.

        Args:
            q: queries, a value. keys, values: channels of what `keys` returned.
            bias: gives that of relative positions, (heads, tokens of a window, the same).
            module: that has the weights of which the bias is made.
        """
        rows, cols = window.padded(self.height, self.width)

        def parts(tokens: torch.Tensor) -> torch.Tensor:
            maps = tokens.view(tokens.shape[0], self.height, self.width, -1)
            maps = F.pad(maps, (0, 0, 0, cols - self.width, 0, rows - self.height))
            parted = window.part(maps)
            return parted.view(*parted.shape[:2], heads, -1).transpose(1, 2)

        scores = bias().to(q.dtype)[None]
        if self.prediction is not None:
            scores = self._merged(scores, window, rows, cols)
        regions = window.regions(rows, cols)
        if regions is not None:
            apart = (regions[:, :, None] != regions[:, None]).to(scores)[:, None]
            scores = (scores - 100.0 * apart.repeat(len(q) if len(scores) > 1 else 1, 1, 1, 1))
            scores = scores if len(scores) == len(q) * len(regions) else scores.repeat(len(q), 1, 1, 1)
        scores = parts(q * scale) @ parts(keys).transpose(-1, -2) + scores  # scaled beforehand: fp16 ends at 65504
        attended = (scores.softmax(-1) @ parts(values)).transpose(1, 2).flatten(2)
        return window.join(attended, rows, cols)[:, :self.height, :self.width].flatten(1, 2)

    def _merged(self, scores: torch.Tensor, window: Window, rows: int, cols: int) -> torch.Tensor:
        """Scores with the mean of a skipped cell's biases for each of its tokens, (B · windows, heads, n, n)."""
        cells = self.cells
        assert cells is not None
        active = cells.active.new_ones(cells.batch, rows, cols, 1)
        active[:, :self.height, :self.width, 0] = cells.mask.view(cells.batch, self.height, self.width)
        active = window.part(active)[:, None, None, :, 0]
        side = cells.side
        shape = (*scores.shape[:3], window.height // side, side, window.width // side, side)
        means = scores.view(shape).mean((4, 6), keepdim=True).expand(shape).reshape(scores.shape)
        return torch.where(active, scores, means)

    def picture(self, value: torch.Tensor, scale: int) -> torch.Tensor:
        """The network's image of channels · scale² for each token, (B, channels, scale · H, scale · W)."""
        image = F.pixel_shuffle(self._map(value), scale)
        self._recorded('image', 0, value)
        if self.prediction is None:
            return image
        assert self.cells is not None and self.prediction.tail is not None
        mask = self.cells.mask.view(-1, 1, self.height, self.width)
        mask = mask.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        return torch.where(mask, image, self.prediction.tail.map(self.x, self.anchor).to(image.dtype))

    def whole(self, value: torch.Tensor) -> torch.Tensor:
        """The map (B, C, H, W) with predictions at skipped tokens."""
        return self._map(self._around(value))

    # what is read of skipped tokens

    def _next(self) -> int:
        self.number += 1
        return self.number - 1

    def _recorded(self, kind: str, number: int, value: torch.Tensor, heads: int = 0) -> torch.Tensor:
        """A hook for whoever fits."""
        return value

    def _around(self, value: torch.Tensor) -> torch.Tensor:
        number = self._next()
        value = self._recorded('token', number, value)
        if self.prediction is None:
            return value
        assert self.cells is not None
        predicted = self._tokens(self.prediction.contexts[number].map(rectified(self.anchor)))
        return torch.where(self.cells.mask, value, predicted.to(value.dtype))

    def _of_skipped(self, number: int) -> torch.Tensor:
        """Sums over skipped tokens, (B, ·)."""
        assert self.prediction is not None
        assert self.cells is not None
        seen = torch.where(self.cells.mask, 0, self._tokens(summary(self.anchor))).sum(1)
        return of_sums(self.prediction.contexts[number], seen, (~self.cells.mask).sum(1))

    def _map(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, self.height, self.width)

    def _tokens(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(2).transpose(1, 2)


