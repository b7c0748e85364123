"""The mask-guided network: base net, mask prediction, and a refine net that runs on the worst patches."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.tiles import in_tiles, is_large
from basicsr_amsr.memory_layout import lay_out
from basicsr_amsr.mga import native as parts
from basicsr_amsr.mga.gate import blend, straight_through
from basicsr_amsr.mga.halo_patches import (
    PatchIndex,
    all_patches,
    gather_patches,
    grid_size,
    join_patches,
    pad_to_grid,
    replace_patches,
)
from basicsr_amsr.mga.mask import MaskPrediction
from basicsr_amsr.mga.native import NativeParts
from basicsr_amsr.mga.oracle import ORACLES, true_error
from basicsr_amsr.mga.part_costs import Costs, count_costs
from basicsr_amsr.mga.parts import backbone_section, split_backbone
from basicsr_amsr.options.argument_sections import check_arguments
from basicsr_amsr.options.section import Count, Named, Number, Positive, Share, Words
from basicsr_amsr.selection.topk import Amount, check_k, count_selected, topk

VARIANTS = {
    'B': 'base net alone',
    'D': 'base net, and refine net on the whole map',
    'A': 'base net, and refine net on every patch',
    'M': 'base net, and refine net on the K patches that the mask selects',
}
TILE_STEP = 24  # tiles begin at multiples of it, as windows and strided convolutions of base nets do
Variant = Literal['B', 'D', 'A', 'M']
Patches = Annotated[
    Count | Share | Annotated[dict[Literal['threshold', 'budget'], Number], Field(min_length=1, max_length=1)],
    Words('a number of patches, a share of them from 0 to 1, {threshold: error}, or {budget: share of the MACs of D}')]


class MGAOutput(NamedTuple):
    """The outputs of a forward pass that the training losses use.

    Attributes:
        image: the final image, (N, 3, s·H, s·W). coarse: that of the base net.
        feature: the coarse feature (N, C, H, W).
        refined: the image with all patches refined, and mask: the error mask, where the mask trains, else None.
    """

    image: torch.Tensor
    coarse: torch.Tensor
    feature: torch.Tensor
    refined: torch.Tensor | None = None
    mask: torch.Tensor | None = None


class MGA(nn.Module):
    """A super-resolution network accelerated by the mask-guided scheme (MGA, ECCV 2022, section 3).

    One network holds what all four variants need, so that weights load from training step to training step; `variant`
    says which part of it runs. Input is RGB (N, 3, H, W) in 0–1, output is (N, 3, s·H, s·W) for any H, W that the
    base net takes.

    Where the mask module is in training mode and gradients are wanted, M refines all patches, and its image, that of
    the selected patches as ever, has a gradient for the mask as well (gate.py), unless that is supervised.

    Args:
        backbone: `{type: NAME, upscale: s, …}`, a registered backbone that can be split.
        variant: B (base only), D (refine the whole map), A (refine all patches), M (refine the selected patches).
        patch_size: p, side of a patch in LR pixels.
        k: how many patches per image M refines: a number (int), a share of all (float in 0–1), those whose predicted
            absolute error exceeds `{threshold: e}`, or as many as keep M within `{budget: share}` of D's MACs.
        per: 'image', or 'batch' for the N·k worst patches of all images of a batch together.
        order: which patches M takes by the mask: 'larger', or for comparison 'random', 'smaller' (table 7), or by the
            true error instead of the mask: 'oracle' by |coarse − refined|, 'best' by what refining gains against the
            ground truth. Both refine everything.
        seed: of the random order.
        split_blocks: (base, refine) body blocks; default is the paper's split.
        cut: `{body: path, tail: path}` of the backbone's list of blocks and its upsampler, for a network that nobody
            has split.
        mask_pooling: whether the mask is averaged over the patches after its softmax or before, see MaskPrediction.
        mask_channels: 2, or 1 without softmax (table 3).
        chunk: patches per call of the refine net; bounds memory on large images. None for all at once.
        tile: without gradients, larger images run through base net and dense refine net in tiles of that side, in LR
            pixels; None for never. It bounds memory too; the mask is that of the whole image.
        tile_pad: so many LR pixels around itself a tile reads too.

    Attributes:
        last_keep: share of the patches refined in the last forward pass (0 for B, 1 for D and A).

    Raises:
        UserError: an option that makes no sense, named.
    """

    base: Any  # a BaseNet
    engine: str
    native: NativeParts | None

    def __init__(self, backbone: Annotated[Mapping[str, Any], Named('backbone', backbone_section)],
                 variant: Variant = 'M', patch_size: Positive = 4, k: Patches = 1000,
                 per: Literal['image', 'batch'] = 'image',
                 order: Literal['larger', 'random', 'smaller', 'oracle', 'best'] = 'larger', seed: int = 0,
                 split_blocks: tuple[Positive, Positive] | None = None, cut: Mapping[str, str] | None = None,
                 mask_pooling: Literal['after_softmax', 'before_softmax'] = 'after_softmax',
                 mask_channels: Literal[1, 2] = 2, chunk: Positive | None = 4096, tile: Positive | None = None,
                 tile_pad: Count = 32) -> None:
        super().__init__()
        check_arguments(MGA, 'network_g', backbone=backbone, variant=variant, patch_size=patch_size, k=k, per=per,
                        order=order, seed=seed, split_blocks=split_blocks, cut=cut, mask_pooling=mask_pooling,
                        mask_channels=mask_channels, chunk=chunk, tile=tile, tile_pad=tile_pad)
        split, self.split_blocks, self.scale = split_backbone(backbone, split_blocks, cut)
        self.backbone, self.cut = dict(backbone), cut
        self.base, self.refine = split.base, split.refine
        self.mask = MaskPrediction(split.num_feat, patch_size, mask_pooling, mask_channels)
        self.patch_size = patch_size
        self.k: Amount = check_k(k)
        self.per, self.order, self.seed = per, order, seed
        self.chunk, self.tile, self.tile_pad = chunk, tile, tile_pad
        self.last_keep = 1.0
        self.set_engine('torch')
        self.counted: dict[tuple[int, int], Costs] = {}
        # Channels-last weights make every convolution run channels-last, which is faster on CPU and GPU alike.
        lay_out(self)
        self.set_variant(variant)

    def set_variant(self, variant: str) -> None:
        """Choose what runs: 'B', 'D', 'A' or 'M'."""
        if variant not in VARIANTS:
            known = ', '.join(f'{key} ({text})' for key, text in VARIANTS.items())
            raise UserError(f"network_g: variant '{variant}' is unknown. There is: {known}.")
        self.variant = variant

    def set_engine(self, engine: str) -> None:
        """'native': at inference on a CPU the native kernels run base net, mask and refine net; 'torch': torch runs
        all; 'auto': native kernels, which are faster."""
        self.engine = engine
        self.native = None if engine == 'torch' else NativeParts()

    def _natively(self, part: Callable[[Any, torch.Tensor], torch.Tensor],
                  by_torch: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """A part of the network, by the native kernels where these are wanted and can."""
        if self.native is None:
            return by_torch
        native = self.native

        def run(*maps: torch.Tensor) -> torch.Tensor:
            found = native.run(part, self, *maps)
            return by_torch(*maps) if found is None else found

        return run

    def variant_modules(self, variant: str) -> list[nn.Module]:
        """The parts that a variant consists of."""
        return {'B': [self.base], 'D': [self.base, self.refine], 'A': [self.base, self.refine],
                'M': [self.base, self.refine, self.mask]}[variant]

    def variant_parameters(self, variant: str) -> int:
        """Number of parameters of a variant (table 1)."""
        return sum(p.numel() for module in self.variant_modules(variant) for p in module.parameters())

    def describe_plain(self, name: str | None) -> str | None:
        """The message for somebody who loads the weights of a plain network of the family `name`."""
        return None if name is None else (
            f'{name} without mask and refine net; to start a training from it, name it as path: '
            'pretrain_network_backbone instead of pretrain_network_g')

    def forward(self, x: torch.Tensor, with_parts: bool = False,
                target: torch.Tensor | None = None) -> torch.Tensor | MGAOutput:
        """Super-resolve (N, 3, H, W); an MGAOutput instead of the image alone where `with_parts` is set.

        `target`, the ground truth (N, 3, s·H, s·W), is what the order 'best' needs.
        """
        if not with_parts and not self.ranks_by_truth:
            image = self.at_once(x)
            if image is not None:
                return image
        feature = self.extract(x)
        if self.variant == 'M' and self.mask.training and torch.is_grad_enabled():
            output = self.gated(feature, self.reconstruct(feature, x))
            return output if with_parts else output.image
        coarse = self.reconstruct(feature, x) if with_parts or self.ranks_by_truth else None
        index = self.chosen(feature, coarse, target)
        if coarse is None:
            coarse = self.coarse_image(feature, x, needed=not self.is_whole(index, feature))
        image = self.composed(feature, coarse, index)
        return MGAOutput(image, cast(torch.Tensor, coarse), feature) if with_parts else image

    def at_once(self, x: torch.Tensor) -> torch.Tensor | None:
        """The image by as few calls of the native kernels as there can be, which keep maps in their own layout; None
        where torch or tiles have to make it part by part."""
        if self.native is None or self.variant == 'A' or (self.tile is not None and is_large(x, self.tile)):
            return None
        if self.variant != 'M':
            self.last_keep = float(self.variant == 'D')
            return self.native.run(parts.dense if self.variant == 'D' else parts.base, self, x)
        canvas = self.native.feature_and_coarse(self, x)
        if canvas is None:
            return None
        index = self.select(canvas.feature, self.native.error_mask(self, canvas.whole))
        image = self.native.refine(self, canvas, index) if len(index.batch) else canvas.picture
        return self.composed(canvas.feature, canvas.picture, index) if image is None else image

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """The coarse feature (N, C, H, W) of images (N, 3, H, W)."""
        return self.in_tiles(self._natively(parts.feature, self.base.extract), x)

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The coarse image (N, 3, s·H, s·W) of the coarse feature of `x`."""
        return self.in_tiles(self._natively(parts.coarse, self.base.reconstruct), feature, x)

    def in_tiles(self, compute: Callable[..., torch.Tensor], *maps: torch.Tensor) -> torch.Tensor:
        """What `compute` gives for maps (N, ·, H, W), tile by tile where they are large and no gradients wanted."""
        if self.tile is None or not is_large(maps[0], self.tile) or torch.is_grad_enabled():
            return compute(*maps)
        return in_tiles(lambda tile: compute(*(tile.of(each) for each in maps)), maps[0], self.tile, self.tile_pad,
                         TILE_STEP)

    @property
    def ranks_by_truth(self) -> bool:
        """Whether patches are chosen by what refining them all would change."""
        return self.variant == 'M' and self.order in ORACLES

    def coarse_image(self, feature: torch.Tensor, x: torch.Tensor, needed: bool) -> torch.Tensor | None:
        """The coarse image from the feature (N, C, H, W) of `x`; None where no pixel of it is `needed`.

        The profiler stands in for this one, because the paper's figures hold the coarse image in either case.
        """
        return self.reconstruct(feature, x) if needed else None

    def composed(self, feature: torch.Tensor, coarse: torch.Tensor | None, index: PatchIndex) -> torch.Tensor:
        """The final image from the coarse feature, the coarse image (None where `index` is whole) and the patches."""
        if self.variant == 'D':
            return self.in_tiles(self._natively(parts.whole, partial(self.refine, halo=False)), feature)
        if coarse is not None and not len(index.batch):
            return coarse
        return self.refine_patches(feature, coarse, index)

    def chosen(self, feature: torch.Tensor, coarse: torch.Tensor | None = None,
               target: torch.Tensor | None = None) -> PatchIndex:
        """The patches that the variant refines; where the true error says which, that needs the coarse image."""
        error = None
        if self.ranks_by_truth:
            everything = self.refine_patches(feature, coarse, self.every_patch(feature))
            error = self.ranked_by(cast(torch.Tensor, coarse), everything, target)
        return self.select(feature, error)

    def active_pixels(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W) bool: the pixels of the LR image (N, 3, H, W) that the variant refines; for the profiler."""
        batch, _, height, width = x.shape
        if self.variant in ('B', 'D'):
            return torch.full((batch, height, width), self.variant == 'D', device=x.device)
        feature = self.extract(x)
        index = self.chosen(feature, self.reconstruct(feature, x) if self.ranks_by_truth else None)
        active = torch.zeros(batch, *grid_size(height, width, self.patch_size), dtype=torch.bool, device=x.device)
        active[index.batch, index.row, index.col] = True
        patches = active.repeat_interleave(self.patch_size, 1).repeat_interleave(self.patch_size, 2)
        return patches[:, :height, :width]

    def ranked_by(self, coarse: torch.Tensor, refined: torch.Tensor, target: torch.Tensor | None = None,
                  mask: torch.Tensor | None = None) -> torch.Tensor | None:
        """The map by which patches are ordered: the true error of 'oracle' and 'best', else the mask."""
        if self.order not in ORACLES:
            return mask
        return true_error(self.order, coarse, refined, target, self.scale, self.patch_size)

    def gated(self, feature: torch.Tensor, coarse: torch.Tensor) -> MGAOutput:
        """Variant M with a gradient for the mask, which takes A's time."""
        mask = self.mask(feature)
        refined = self.refine_patches(feature, coarse, self.every_patch(feature))
        supervised = self.mask.supervision in ('normalized', 'absolute')
        gate = straight_through(mask.detach() if supervised else mask, self.select(feature, mask))
        return MGAOutput(blend(coarse, refined, gate, self.scale * self.patch_size), coarse, feature, refined, mask)

    def every_patch(self, feature: torch.Tensor) -> PatchIndex:
        """All patches of the feature (N, C, H, W)."""
        batch, _, height, width = feature.shape
        return all_patches(batch, *grid_size(height, width, self.patch_size), feature.device)

    def is_whole(self, index: PatchIndex, feature: torch.Tensor) -> bool:
        """Whether `index` holds all patches of the feature (N, C, H, W)."""
        batch, _, height, width = feature.shape
        return len(index.batch) == batch * math.prod(grid_size(height, width, self.patch_size))

    def select(self, feature: torch.Tensor, error: torch.Tensor | None = None) -> PatchIndex:
        """The patches that the variant refines: none (B), all (D, A), or those that `error`, the mask by default,
        selects (M)."""
        batch, _, height, width = feature.shape
        rows, cols = grid_size(height, width, self.patch_size)
        if self.variant != 'M':
            index = all_patches(0 if self.variant == 'B' else batch, rows, cols, feature.device)
        else:
            order = 'larger' if self.order in ORACLES else self.order
            error = self.predicted_error(feature) if error is None else error
            image, position = topk(error, self.amount(height, width), order, self.per, self.seed)
            index = PatchIndex(image, position // cols, position % cols)
        self.last_keep = len(index.batch) / (batch * rows * cols)
        return index

    def predicted_error(self, feature: torch.Tensor) -> torch.Tensor:
        """The mask (N, 1, ⌈H/p⌉, ⌈W/p⌉) of the feature (N, C, H, W)."""
        mask = None if self.native is None else self.native.error_mask(self, self.mask.padded(feature))
        return self.mask(feature) if mask is None else mask

    def amount(self, height: int, width: int) -> Amount:
        """`k` for an LR image of height × width, with a budget turned into a number.

        Raises:
            UserError: the budget does not allow a single patch, or the mask was not trained for a threshold.
        """
        if not isinstance(self.k, Mapping):
            return self.k
        if 'budget' in self.k:
            return self.costs(height, width).k_within(
                self.k['budget'], math.prod(grid_size(height, width, self.patch_size)))
        if self.order not in ORACLES:
            self.mask.check_threshold()
        return self.k

    def fixed_k(self, height: int, width: int) -> int:
        """The number of patches that M refines of every image of height × width, for an export with static shapes.

        Raises:
            UserError: `k` is a threshold, so that it depends on the image.
        """
        amount = self.amount(height, width)
        if isinstance(amount, Mapping):
            raise UserError('network_g: k is a threshold, with which the number of patches depends on the image: give '
                            'a number, a share or a budget where it has to be fixed.')
        rows, cols = grid_size(height, width, self.patch_size)
        return count_selected(amount, rows * cols)

    def costs(self, height: int, width: int) -> Costs:
        """MACs of the parts for an LR image of height × width, counted when a size is first asked for."""
        if (height, width) not in self.counted:
            self.counted[height, width] = count_costs(self, height, width)
        return self.counted[height, width]

    def refine_patches(self, feature: torch.Tensor, coarse: torch.Tensor | None, index: PatchIndex) -> torch.Tensor:
        """The coarse image with the refined patches in the place of its own; None will do where `index` is whole."""
        image = None if self.native is None else self.native.refined(self, feature, coarse, index)
        if image is not None:
            return image
        padded = pad_to_grid(feature, self.patch_size)
        runs = [index] if self.chunk is None else index.chunks(self.chunk)
        refined = [self.refine(gather_patches(padded, run, self.patch_size)) for run in runs]
        patches = torch.cat(refined) if len(refined) > 1 else refined[0]
        if coarse is not None:
            return replace_patches(coarse, patches, index)
        batch, _, height, width = feature.shape
        return join_patches(patches, batch, self.scale * height, self.scale * width)
