"""A converted network on tiles of a large image, with the masks of the whole."""
from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from basicsr_amsr.backbones.skipping import Selection
from basicsr_amsr.execution.native import selection as native
from basicsr_amsr.execution.tiles import Tile, in_tiles
from basicsr_amsr.padding import pad_to_multiple


class Masks:
    """The masks that a selection makes of a whole image, each made once, when it is first asked for.

    Args:
        selection: what chooses.
        image: the LR images (B, 3 or 1, H, W).
        patches: where another has chosen the patches of the selection's size: bool (B, rows, cols).
    """

    def __init__(self, selection: Selection, image: torch.Tensor, patches: torch.Tensor | None) -> None:
        self.selection, self.image = selection, image.detach()
        self._made: dict[Any, torch.Tensor] = {} if patches is None else {selection.patch_size: patches}

    def patches(self, patch_size: int) -> torch.Tensor:
        """Active patches of that side, bool (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉)."""
        if patch_size not in self._made:
            wide: Any = dataclasses.replace(self.selection, patch_size=patch_size)  # type: ignore[type-var]
            times = max(patch_size // self.selection.patch_size, 1)
            self._made[patch_size] = native.patches(wide, pad_to_multiple(self.image, times))
        return self._made[patch_size]

    def windows(self, size: int, shifts: tuple[int, ...]) -> list[torch.Tensor]:
        """Active windows for each cyclic shift, bool (B, ⌈H/size⌉, ⌈W/size⌉)."""
        missing = tuple(shift for shift in shifts if (size, shift) not in self._made)
        if missing:
            made = self.selection.windows(pad_to_multiple(self.image, size), size, missing)
            self._made |= {(size, shift): mask for shift, mask in zip(missing, made, strict=True)}
        return [self._made[size, shift] for shift in shifts]

    def keep(self, tile: Tile) -> float:
        """Mean share of what a tile keeps that is active, over the masks that were made; 1 where none was."""
        keeps = []
        for key, mask in self._made.items():
            size = key if isinstance(key, int) else key[0]
            rows, cols = (slice(kept.start // size, -(-kept.stop // size))
                          for kept in (tile.kept_rows, tile.kept_cols))
            keeps.append(float(mask[:, rows, cols].float().mean()))
        return math.fsum(keeps) / len(keeps) if keeps else 1.0


@dataclass(frozen=True)
class Cut:
    """The selection of a tile: a part of the masks of the whole image.

    Attributes:
        patch_size: side of the patches in LR pixels.
        masks: of the whole image.
        top, left: where the tile begins, multiples of all patches and windows.
    """

    patch_size: int
    masks: Masks
    top: int
    left: int

    @property
    def smooth(self) -> Any:
        """`smooth` of the selection; None where it has none."""
        return getattr(self.masks.selection, 'smooth', None)

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """Active patches of the tile, bool (B, rows, cols)."""
        return self._part(self.masks.patches(self.patch_size), images, self.patch_size)

    def windows(self, images: torch.Tensor, size: int, shifts: tuple[int, ...]) -> list[torch.Tensor]:
        """Active windows of the tile for each cyclic shift.

        Shifted windows of the last row and column wrap around, and a tile at the image's upper or left border is given
        them for what they hold of that border.
        """
        masks = self.masks.windows(size, shifts)
        return [self._part(mask, images, size, bool(shift)) for mask, shift in zip(masks, shifts, strict=True)]

    def _part(self, mask: torch.Tensor, images: torch.Tensor, size: int, wraps: bool = False) -> torch.Tensor:
        for dim, start in ((1, self.top), (2, self.left)):
            index = start // size + torch.arange(-(-images.shape[dim + 1] // size), device=mask.device)
            if wraps and not start:
                index[-1] = mask.shape[dim] - 1
            mask = mask.index_select(dim, index)
        return mask


def run_tiles(net: Any, x: torch.Tensor, skips: bool) -> tuple[torch.Tensor, float]:
    """The image of a converted network, and the mean share that was active.

    Args:
        net: the network, with `tile` in its options.
        x: (B, C, H, W), the LR images.
        skips: whether it may skip, so that masks are needed.
    """
    calibrated = net.calibrated is not None  # its budget is solved by its own costs, so it chooses the patches
    patches = net.calibrated.patches(net, x, net.amsr) if skips and calibrated else None
    masks = Masks(net.amsr.selection if calibrated or not skips else net.selection_for(x), x, patches)
    view = copy.copy(net)
    keeps: list[float] = []

    def compute(tile: Tile) -> torch.Tensor:
        cut = Cut(masks.selection.patch_size, masks, tile.rows.start, tile.cols.start)
        view.amsr = dataclasses.replace(net.amsr, selection=cut, budget=None, tile=None)
        part = tile.of(x)
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        result = view.forward(part.contiguous(memory_format=layout))  # not called: hooks are for whole images
        keep = float(view.last_keep)  # 1 where the plain network ran
        keeps.append((masks.keep(tile) if keep < 1 else keep) * tile.area)
        return result

    image = in_tiles(compute, x, net.amsr.tile, net.amsr.tile_pad, step_of(net))
    net.structure = view.structure  # a hash of all modules, made where costs are asked: once is enough
    return image, math.fsum(keeps) / (x.shape[-2] * x.shape[-1])


def step_of(net: Any) -> int:
    """Tiles begin at multiples of this, so that patches and windows, of unshuffled pixels too, are whole."""
    windows = [module.window_size for module in net.modules() if isinstance(getattr(module, 'window_size', None), int)]
    return math.lcm(4 * net.amsr.selection.patch_size, *windows)
