"""A converted network on pieces of a large image, with the masks of the whole."""
from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from basicsr_amsr.backbones.skipping import Selection
from basicsr_amsr.execution.native import selection as native
from basicsr_amsr.execution.pieces import Piece, in_pieces
from basicsr_amsr.selection.padding import pad_to_multiple


class Masks:
    """What a selection chooses on a whole image; each mask is made once, when it is first asked for.

    Args:
        selection: what chooses.
        image: the LR images (B, 3 or 1, H, W).
        tiles: where another has chosen the tiles of the selection's size: bool (B, rows, cols).
    """

    def __init__(self, selection: Selection, image: torch.Tensor, tiles: torch.Tensor | None) -> None:
        self.selection, self.image = selection, image.detach()
        self._made: dict[Any, torch.Tensor] = {} if tiles is None else {selection.tile: tiles}

    def tiles(self, tile: int) -> torch.Tensor:
        """Active tiles of that side, bool (B, ⌈H/tile⌉, ⌈W/tile⌉)."""
        if tile not in self._made:
            wide: Any = dataclasses.replace(self.selection, tile=tile)  # type: ignore[type-var]
            self._made[tile] = native.tiles(wide, pad_to_multiple(self.image, max(tile // self.selection.tile, 1)))
        return self._made[tile]

    def windows(self, size: int, shifts: tuple[int, ...]) -> list[torch.Tensor]:
        """Active windows for each cyclic shift, bool (B, ⌈H/size⌉, ⌈W/size⌉)."""
        missing = tuple(shift for shift in shifts if (size, shift) not in self._made)
        if missing:
            made = self.selection.windows(pad_to_multiple(self.image, size), size, missing)
            self._made |= {(size, shift): mask for shift, mask in zip(missing, made, strict=True)}
        return [self._made[size, shift] for shift in shifts]

    def share(self, piece: Piece) -> float:
        """Mean share of what a piece keeps that is active, over the masks that were made; 1 where none was."""
        shares = []
        for key, mask in self._made.items():
            size = key if isinstance(key, int) else key[0]
            rows, cols = (slice(kept.start // size, -(-kept.stop // size))
                          for kept in (piece.kept_rows, piece.kept_cols))
            shares.append(float(mask[:, rows, cols].float().mean()))
        return math.fsum(shares) / len(shares) if shares else 1.0


@dataclass(frozen=True)
class Cut:
    """The selection of a piece: a part of the masks of the whole image.

    Attributes:
        tile: side of the tiles in LR pixels.
        masks: of the whole image.
        top, left: where the piece begins, multiples of all tiles and windows.
    """

    tile: int
    masks: Masks
    top: int
    left: int

    @property
    def smooth(self) -> Any:
        """As the selection's own."""
        return getattr(self.masks.selection, 'smooth', None)

    def tiles(self, images: torch.Tensor) -> torch.Tensor:
        """Active tiles of the piece, bool (B, rows, cols)."""
        return self._part(self.masks.tiles(self.tile), images, self.tile)

    def windows(self, images: torch.Tensor, size: int, shifts: tuple[int, ...]) -> list[torch.Tensor]:
        """Active windows of the piece for each cyclic shift. The last shifted ones wrap around: what they hold of the
        image's upper and left border is what counts, if the piece has it."""
        masks = self.masks.windows(size, shifts)
        return [self._part(mask, images, size, bool(shift)) for mask, shift in zip(masks, shifts, strict=True)]

    def _part(self, mask: torch.Tensor, images: torch.Tensor, size: int, wraps: bool = False) -> torch.Tensor:
        for dim, start in ((1, self.top), (2, self.left)):
            index = start // size + torch.arange(-(-images.shape[dim + 1] // size), device=mask.device)
            if wraps and not start:
                index[-1] = mask.shape[dim] - 1
            mask = mask.index_select(dim, index)
        return mask


def run_pieces(net: Any, x: torch.Tensor, skips: bool) -> tuple[torch.Tensor, float]:
    """The image of a converted network, and the mean share that was active.

    Args:
        net: the network, with `piece` in its options.
        x: (B, C, H, W), the LR images.
        skips: whether it may skip, so that masks are needed.
    """
    calibrated = net.region is not None  # its budget is solved by its own costs, so it chooses the tiles
    tiles = net.region.tiles(net, x, net.amsr) if skips and calibrated else None
    masks = Masks(net.amsr.selection if calibrated or not skips else net.selection_for(x), x, tiles)
    view = copy.copy(net)
    shares: list[float] = []

    def compute(piece: Piece) -> torch.Tensor:
        cut = Cut(masks.selection.tile, masks, piece.rows.start, piece.cols.start)
        view.amsr = dataclasses.replace(net.amsr, selection=cut, budget=None, piece=None)
        part = piece.of(x)
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        result = view.forward(part.contiguous(memory_format=layout))  # not called: hooks are for whole images
        ratio = float(view.last_mask_ratio)  # 1 where the plain network ran
        shares.append((masks.share(piece) if ratio < 1 else ratio) * piece.area)
        return result

    image = in_pieces(compute, x, net.amsr.piece, net.amsr.overlap, step_of(net))
    net.structure = view.structure  # a hash of all modules, made where costs are asked: once is enough
    return image, math.fsum(shares) / (x.shape[-2] * x.shape[-1])


def step_of(net: Any) -> int:
    """Pieces begin at multiples of this, so that tiles and windows, of unshuffled pixels too, are whole."""
    windows = [module.window_size for module in net.modules() if isinstance(getattr(module, 'window_size', None), int)]
    return math.lcm(4 * net.amsr.selection.tile, *windows)
