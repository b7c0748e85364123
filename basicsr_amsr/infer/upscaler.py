"""`Upscaler`: a network of any origin as a function from pictures to larger pictures."""
from __future__ import annotations

import os
from pathlib import Path
from typing import overload

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.descriptor import Descriptor
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.precision import DTYPES, computing_in
from basicsr_amsr.execution.tiles import Tile, in_tiles, is_large
from basicsr_amsr.infer import picture, pixels
from basicsr_amsr.infer.alpha import filled, within_neighbours
from basicsr_amsr.infer.chosen_form import Dtype, Form, bring_to_form
from basicsr_amsr.infer.find_network import Network, find_network
from basicsr_amsr.infer.pixels import Array, Pixels


class Upscaler:
    """A network that enlarges pictures of any kind and size, in the fastest form that it has here.

    Where a calibration comes with the weights, only the patches that need it are computed, and pictures are on
    average 50 dB or nearer to those of the whole network; else the whole network runs, by the native
    kernels where they can.

    Args:
        source: a name of `basicsr list pretrained`, a file of weights (of this package's networks, BasicSR's, or any
            that spandrel recognises, where that is installed), a network, what spandrel's ModelLoader returns, or the
            `network` of another Upscaler. A network is copied.
        keep: the share of the patches to compute, of pictures like those that the calibration was fitted to; a detailed
            picture has more, a flat one less. None: as it was fitted.
        calibration: a file of `basicsr calibrate`, or what `calibrate` returned.
        dense: compute everything.
        scale: enlarge by this factor, resizing the network's picture where it has another; of weights for several
            scales the network of this one is taken. None: the network's.
        device: 'cpu', 'cuda', 'cuda:1', 'mps'; None: a GPU where there is one.
        dtype: 'fp32', 'bf16' or 'fp16', or PyTorch's of these; None: bf16 on CPUs that have instructions for it, fp16
            on NVIDIA's GPUs, else fp32.
        tile: larger pictures are computed in tiles of that side in pixels; 0: never; None: so that a feature map stays
            under a gigabyte.
        tile_pad: so many pixels around itself a tile reads too.

    Attributes:
        network: what was found. form: how it runs; `str(form)` says it.
        scale: the factor. last_keep: the share of the patches that was computed of the last picture.

    Raises:
        UserError: one line that names what is wrong.

    Examples:
        >>> upscale = sr.Upscaler('RFDN_x4', device='cpu')
        >>> large = upscale('photo.jpg')
        >>> large.save('large.png')
        >>> upscale(torch.rand(3, 20, 30)).shape
        torch.Size([3, 80, 120])
    """

    def __init__(self, source: str | os.PathLike[str] | nn.Module | Descriptor | Network, *,
                 keep: float | None = None, calibration: str | os.PathLike[str] | Calibration | None = None,
                 dense: bool = False, scale: float | None = None, device: str | torch.device | None = None,
                 dtype: Dtype | torch.dtype | None = None, tile: int | None = None, tile_pad: int = 32) -> None:
        number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
        if scale is not None and not (number and 0 < scale <= 64):
            raise UserError(f'scale is {scale!r}: give a factor over 0, at most 64.')
        self.network = find_network(source, scale)
        if isinstance(calibration, (str, os.PathLike)):
            calibration = Calibration.load(calibration)
        self.form: Form = bring_to_form(self.network, keep, calibration, dense, device, dtype, tile, tile_pad)
        self.scale: float = self.network.scale if scale is None else scale
        self.last_keep = 1.0

    def __repr__(self) -> str:
        return f'Upscaler({self.network.name}, x{self.scale:g}: {self.form})'

    @overload
    def __call__(self, image: str | os.PathLike[str] | Image.Image) -> Image.Image: ...

    @overload
    def __call__(self, image: torch.Tensor) -> torch.Tensor: ...

    @overload
    def __call__(self, image: Array) -> Array: ...

    def __call__(self, image: str | os.PathLike[str] | Image.Image | torch.Tensor | Array
                 ) -> Image.Image | torch.Tensor | Array:
        """The enlarged picture, of the kind that was given; of a file a Pillow image.

        Args:
            image: a file; a Pillow image of any mode; an array (H, W) or (H, W, C) in RGB order, uint8, uint16 or
                floating point in 0–1; a tensor (C, H, W) or (B, C, H, W), floating point in 0–1 or uint8. The last of 2
                or 4 channels is alpha.

        Raises:
            UserError: it is no picture, or cannot be read.
        """
        if isinstance(image, torch.Tensor):
            return pixels.to_tensor(self.enlarge(pixels.of_tensor(image)), image)
        if isinstance(image, (str, os.PathLike)):
            return picture.to_pillow(self.enlarge_picture(picture.read(Path(image))))
        if isinstance(image, Image.Image):
            return picture.to_pillow(self.enlarge_picture(picture.of_pillow(image)))
        return self.enlarge_array(image)

    def enlarge_array(self, array: Array) -> Array:
        """The enlarged array, as a call with an array gives it."""
        return pixels.to_array(self.enlarge(pixels.of_array(array)), array)

    def enlarge_picture(self, given: picture.Picture) -> picture.Picture:
        """The enlarged picture of one that was read from a file: 16 bits, profile, Exif data and resolution stay."""
        return given.with_array(self.enlarge_array(given.array))

    @torch.no_grad()
    def enlarge(self, given: Pixels) -> Pixels:
        """The enlarged picture; `last_keep` is of its colour."""
        colour, alpha = given.colour, given.alpha
        if alpha is None or bool((alpha == 1).all()):
            large = self._colour(colour)
            return Pixels(large, None if alpha is None else torch.ones_like(large[:, :1]))
        large_alpha = within_neighbours(alpha, self._colour(alpha))
        return Pixels(self._colour(filled(colour, alpha)), large_alpha)

    def active(self, given: Pixels) -> torch.Tensor | None:
        """The patches that are computed of a picture, bool (B, rows, cols); None where nothing is skipped."""
        calibration = self.form.calibration
        if calibration is None:
            return None
        return calibration.selection(self.form.keep).patches(given.colour)

    def _colour(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1 or 3, H, W) in 0–1, one by one, enlarged."""
        wanted = self.network.channels
        parts, keeps = [], []
        for image in x.to(self.form.device).split(1):
            folded = image.transpose(0, 1) if wanted < image.shape[1] else image.expand(-1, wanted, -1, -1)
            large = torch.cat([self._run(part) for part in folded.split(1)])
            keeps.append(float(getattr(self.network.net, 'last_keep', 1.0)))
            large = large.transpose(0, 1) if wanted < image.shape[1] else large
            parts.append(large.mean(1, keepdim=True) if image.shape[1] == 1 < wanted else large)
        self.last_keep = sum(keeps) / len(keeps)
        return torch.cat(parts).clamp(0, 1)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        """The network's picture of (1, C, H, W), resized to the scale."""
        net, form = self.network.net, self.form
        height, width = x.shape[-2:]
        rows, cols = (-(-max(side, self.network.least) // self.network.multiple) * self.network.multiple
                      for side in (height, width))
        x = F.pad(x, (0, cols - width, 0, rows - height), mode='replicate')

        def compute(part: torch.Tensor) -> torch.Tensor:
            image: torch.Tensor = net(part.contiguous(memory_format=torch.channels_last))
            return image.float()

        def compute_tile(tile: Tile) -> torch.Tensor:
            return compute(tile.of(x))

        with computing_in(DTYPES[form.dtype], form.device):
            if form.kind == 'plain' and form.tile is not None and is_large(x, form.tile):
                large = in_tiles(compute_tile, x, form.tile, form.tile_pad, self.network.multiple)
            else:
                large = compute(x)
        large = large[..., :height * self.network.scale, :width * self.network.scale]
        if not large.isfinite().all():
            raise UserError(f'{self.network.name} gives values that are not finite in {form.dtype}: '
                            f'{"take fp32" if form.dtype != "fp32" else "its weights went wrong"}.')
        if self.scale == self.network.scale:
            return large
        size = tuple(max(round(side * self.scale), 1) for side in (height, width))
        return F.interpolate(large.float(), size=size, mode='bicubic', antialias=True)
