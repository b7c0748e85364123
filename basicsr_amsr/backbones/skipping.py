"""One forward pass of an accelerated network: which pixels and windows are active, and how units run."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.graph.markers import marked
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.native.selection import patches
from basicsr_amsr.execution.tokens.windows import Layer, places_of, run_windows
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.run_unit import run_unit
from basicsr_amsr.execution.torch_sparse.unit import Unit
from basicsr_amsr.padding import pad_to, pad_to_multiple
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.neighbourhoods import expand_patches

Made = TypeVar('Made')


class Selection(Protocol):
    """What chooses; a dataclass, as `HighFrequencyMask` is. Another `patch_size` is set by `dataclasses.replace`."""

    @property
    def patch_size(self) -> int:
        """Side of the patches in LR pixels."""

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """Active patches, bool (B, ⌈H/patch_size⌉, ⌈W/patch_size⌉), of LR images (B, 3 or 1, H, W)."""

    def windows(self, images: torch.Tensor, size: int, shifts: tuple[int, ...]) -> list[torch.Tensor]:
        """Active windows for each cyclic shift, bool (B, H / size, W / size)."""


class Skipping:
    """What one forward pass skips. It lives as long as the pass, so several may run side by side.

    Args:
        image: the LR images (B, 3 or 1, H, W); a mask is made for each, when a size is first asked for.
        selection: what chooses.
        differentiable: compute everything and mask it, as training needs it.
        backend: what convolves otherwise, see `backend_for`.
    """

    def __init__(self, image: torch.Tensor, selection: Selection, differentiable: bool, backend: str = 'torch') -> None:
        self.image, self.selection = image.detach(), selection
        self.differentiable, self.backend = differentiable, backend
        self._patches: dict[tuple[int, int], tuple[torch.Tensor, int]] = {}
        self._made: dict[Hashable, Any] = {}
        self._windows: dict[tuple[int, int, int, int], torch.Tensor] = {}

    def run(self, unit: Unit, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """A module's unit on the active pixels of x (B, C, H, W); the others keep their values."""
        if self.differentiable:
            return unit.masked(module, x, self.mask)
        height, width = x.shape[-2:]
        whole = backend_for(self.backend, x.device).whole
        layout = self.once(('layout', height, width),
                           lambda: Layout(*self.patches(height, width), height, width, 0, whole))
        return run_unit(unit, module, x, layout, self.backend)

    def mask(self, height: int, width: int) -> torch.Tensor:
        """The active pixels of a feature map, bool (B, 1, height, width)."""
        return self.once(('mask', height, width),
                         lambda: expand_patches(*self.patches(height, width), height, width))

    def run_windows(self, layer: Layer, x: torch.Tensor, size: int, shift: int) -> torch.Tensor:
        """A layer of windows (see `execution.tokens.windows`) on the active windows of tokens (B, H, W, C)."""
        height, width = x.shape[1:3]
        windows = self.windows(height, width, size, shift)
        places = self.once(('windows', height, width, size, shift), lambda: places_of(x, windows, size, shift))
        return run_windows(layer, x, *places)

    def tokens(self, height: int, width: int, size: int, shift: int) -> torch.Tensor:
        """The tokens in active windows, bool (B, height · width, 1)."""
        def make() -> torch.Tensor:
            mask = expand_patches(self.windows(height, width, size, shift), size, height, width)
            return torch.roll(mask, (shift, shift), dims=(2, 3)).flatten(2).transpose(1, 2)

        return self.once(('tokens', height, width, size, shift), make)

    def windows(self, height: int, width: int, size: int, shift: int) -> torch.Tensor:
        """Active windows for a cyclic shift, of a token map made from the image padded by reflection."""
        key = (height, width, size, shift)
        if key not in self._windows:
            # Both of a network's usual shifts at once: the map of the image is made once.
            shifts = (0, shift) if shift and (*key[:3], 0) not in self._windows else (shift,)
            masks = self.selection.windows(pad_to(self.image, height, width), size, shifts)
            self._windows |= {(*key[:3], each): mask for each, mask in zip(shifts, masks, strict=True)}
        return self._windows[key]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first called for this key in the pass."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def patches(self, height: int, width: int) -> tuple[torch.Tensor, int]:
        """Active patches of a feature map of the image's size, a fraction of it (unshuffled pixels) or a multiple.

        Returns:
            bool (B, rows, cols), and the side of a patch in pixels of the feature map.
        """
        if (height, width) not in self._patches:
            rows, cols = self.image.shape[-2:]
            patch_size = self.selection.patch_size
            # Both sides tell: of an image one pixel high, rows alone do not. Whole numbers, also while it is traced.
            less = max(int(rows / height + 0.5), int(cols / width + 0.5), 1)
            more = max(int(height / rows + 0.5), int(width / cols + 0.5), 1)
            if (height, width) == (rows * more, cols * more):
                found = patches(self.selection, self.image), patch_size * more
            elif (height, width) == (-(-rows // less), -(-cols // less)):
                wide: Any = dataclasses.replace(self.selection, patch_size=patch_size * less)  # type: ignore[type-var]
                found = patches(wide, pad_to_multiple(self.image, less)), patch_size
            else:
                raise UserError(f'a unit works on {height}x{width}, which is neither a multiple nor a fraction of the '
                                f'image, {rows}x{cols}: leave it dense, or give images of another size.')
            self._patches[height, width] = found
        return self._patches[height, width]

    @property
    def keep(self) -> float | torch.Tensor:
        """Mean share of active pixels or windows over the masks that were used; 1 where none was."""
        masks = [patches for patches, _ in self._patches.values()] or list(self._windows.values())
        keeps = [mask.mean(dtype=torch.float32) for mask in masks]
        return (torch.stack(keeps).mean() if len(keeps) > 1 else keeps[0]) if keeps else 1.0


class Marking(Skipping):
    """Marks units in a trace: see `execution.graph.skipped_units`."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__(image, HighFrequencyMask(keep=1.0), differentiable=False)

    def run(self, unit: Unit, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The whole unit, marked."""
        return marked(partial(unit.forward, module), x)

    def run_windows(self, layer: Layer, x: torch.Tensor, size: int, shift: int) -> torch.Tensor:
        """Refused."""
        raise Unreadable('attention windows are skipped by torch alone')


def marked_forward(net: Any, x: torch.Tensor) -> Any:
    """What a converted network computes where nothing is skipped, its units marked."""
    token = CURRENT.set(Marking(x))
    try:
        return net.plain_class.forward(net, x)
    finally:
        CURRENT.reset(token)


# Set by the network's forward pass, read by its units. A context variable, as DataParallel runs replicas in threads.
CURRENT: ContextVar[Skipping | None] = ContextVar('skipping', default=None)
