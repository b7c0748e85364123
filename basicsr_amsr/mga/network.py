"""The mask-guided network: base net, mask prediction, and a refine net that runs on the worst patches."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from basicsr_amsr.backbones.spec import MGASplit, get_backbone
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.mga.mask import MaskPrediction
from basicsr_amsr.mga.patches import (
    PatchIndex,
    all_patches,
    gather_patches,
    grid_size,
    pad_to_grid,
    replace_patches,
)
from basicsr_amsr.selection.topk import ORDERS, check_k, topk

VARIANTS = {
    'B': 'base net alone',
    'D': 'base net, and refine net on the whole map',
    'A': 'base net, and refine net on every patch',
    'M': 'base net, and refine net on the K patches that the mask selects',
}


class MGAOutput(NamedTuple):
    """What training looks at: the final image, the coarse image (both (N, 3, s·H, s·W)), and the feature they share."""

    image: torch.Tensor
    coarse: torch.Tensor
    feature: torch.Tensor


class MGA(nn.Module):
    """A super-resolution network accelerated by the mask-guided scheme (MGA, ECCV 2022, section 3).

    One network holds what all four variants need, so that weights load from training step to training step; `variant`
    says which part of it runs. Input is RGB (N, 3, H, W) in 0–1, output is (N, 3, s·H, s·W) for any H, W that the
    base net takes.

    Args:
        backbone: `{type: NAME, upscale: s, …}`, a registered backbone that can be split.
        variant: B (base only), D (refine the whole map), A (refine all patches), M (refine the selected patches).
        patch_size: p, side of a patch in LR pixels.
        k: patches per image that M refines: a number (int) or a share of all (float in 0–1).
        order: which patches M takes by the mask: 'larger', or for comparison 'random', 'smaller' (table 7).
        split_blocks: (base, refine) body blocks; default is the paper's split.
        mask_pooling: 'after_softmax' or 'before_softmax', see MaskPrediction.
        chunk: patches per call of the refine net; bounds memory on large images. None for all at once.

    Attributes:
        last_mask_ratio: share of the patches refined in the last forward pass (0 for B, 1 for D and A).

    Raises:
        UserError: an option that makes no sense, named.
    """

    base: Any  # a BaseNet

    def __init__(self, backbone: Mapping[str, Any], variant: str = 'M', patch_size: int = 4, k: int | float = 1000,
                 order: str = 'larger', split_blocks: tuple[int, int] | None = None,
                 mask_pooling: str = 'after_softmax', chunk: int | None = 4096) -> None:
        super().__init__()
        if patch_size < 1:
            raise UserError(f'network_g: patch_size is {patch_size}: give 1 or more LR pixels.')
        if chunk is not None and chunk < 1:
            raise UserError(f'network_g: chunk is {chunk}: give 1 or more patches, or ~ for all at once.')
        if order not in ORDERS:
            raise UserError(f"network_g: order '{order}' is unknown. {suggestion(order, ORDERS)}")
        parts, self.scale = split_backbone(backbone, split_blocks)
        self.base = parts.base
        self.refine = parts.refine
        self.mask = MaskPrediction(parts.num_feat, patch_size, mask_pooling)
        self.patch_size = patch_size
        self.k = check_k(k)
        self.order = order
        self.chunk = chunk
        self.last_mask_ratio = 1.0
        # Channels-last weights make every convolution run channels-last, which is faster on CPU and GPU alike.
        self.to(memory_format=torch.channels_last)
        self.set_variant(variant)

    def set_variant(self, variant: str) -> None:
        """Choose what runs: 'B', 'D', 'A' or 'M'."""
        if variant not in VARIANTS:
            known = ', '.join(f'{key} ({text})' for key, text in VARIANTS.items())
            raise UserError(f"network_g: variant '{variant}' is unknown. There is: {known}.")
        self.variant = variant

    def variant_modules(self, variant: str) -> list[nn.Module]:
        """The parts that a variant consists of."""
        return {'B': [self.base], 'D': [self.base, self.refine], 'A': [self.base, self.refine],
                'M': [self.base, self.refine, self.mask]}[variant]

    def variant_parameters(self, variant: str) -> int:
        """Number of parameters of a variant (table 1)."""
        return sum(p.numel() for module in self.variant_modules(variant) for p in module.parameters())

    def forward(self, x: torch.Tensor, with_parts: bool = False) -> torch.Tensor | MGAOutput:
        """Super-resolve (N, 3, H, W); an MGAOutput instead of the image alone where `with_parts` is set."""
        feature = self.base.extract(x)
        coarse = self.base.reconstruct(feature, x)
        image = self.refined(feature, coarse)
        return MGAOutput(image, coarse, feature) if with_parts else image

    def refined(self, feature: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """The final image of the chosen variant from the coarse feature (N, C, H, W) and the coarse image."""
        if self.variant == 'B':
            self.last_mask_ratio = 0.0
            return coarse
        if self.variant == 'D':
            self.last_mask_ratio = 1.0
            return self.refine(feature, halo=False)
        index = self.select(feature)
        return self.refine_patches(feature, coarse, index) if len(index.batch) else coarse

    def select(self, feature: torch.Tensor) -> PatchIndex:
        """The patches that the variant refines: all (A), or the K that the mask selects in each image (M)."""
        batch, _, height, width = feature.shape
        rows, cols = grid_size(height, width, self.patch_size)
        if self.variant == 'A':
            self.last_mask_ratio = 1.0
            return all_patches(batch, rows, cols, feature.device)
        chosen = topk(self.mask(feature), self.k, self.order)
        self.last_mask_ratio = chosen.shape[1] / (rows * cols)
        image = torch.arange(batch, device=feature.device).repeat_interleave(chosen.shape[1])
        chosen = chosen.flatten()
        return PatchIndex(image, chosen // cols, chosen % cols)

    def refine_patches(self, feature: torch.Tensor, coarse: torch.Tensor, index: PatchIndex) -> torch.Tensor:
        """The coarse image with the refined patches in the place of its own."""
        padded = pad_to_grid(feature, self.patch_size)
        runs = [index] if self.chunk is None else index.chunks(self.chunk)
        refined = [self.refine(gather_patches(padded, run, self.patch_size)) for run in runs]
        return replace_patches(coarse, torch.cat(refined) if len(refined) > 1 else refined[0], index)


def split_backbone(backbone: Mapping[str, Any], split_blocks: tuple[int, int] | None) -> tuple[MGASplit, int]:
    """Base net and refine net of a registered backbone, and its scale.

    Raises:
        UserError: the backbone is unknown, has no scale, or cannot be split.
    """
    options = dict(backbone)
    if 'type' not in options:
        raise UserError('network_g: backbone has no type; write for instance backbone: {type: RCAN, upscale: 4}.')
    spec = get_backbone(options.pop('type'))
    options = spec.options(options)
    if 'upscale' not in options:
        raise UserError(f'network_g: backbone {spec.name} has no upscale; write upscale: 2, 3 or 4.')
    try:
        return spec.cut(split_blocks, **options), options['upscale']
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
