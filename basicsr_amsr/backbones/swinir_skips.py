"""AMSR's units of SwinIR: attention and MLP of each window (arXiv 2505.06975, its rule for transformers).

Skipped windows pass by both, with their residual connections. Layers with a cyclic shift take the mask shifted alike,
and each window keeps its own attention mask. Dense: all convolutions, and the normalisation at both ends of the body.
"""
from __future__ import annotations

from typing import Any

import torch
from basicsr.archs.swinir_arch import SwinTransformerBlock
from torch import nn

from basicsr_amsr.backbones.skipping import Skipping
from basicsr_amsr.backbones.skips import Skip


class SkipWindows:
    """BasicSR's Swin layer on the active windows."""

    def forward(self, module: Any, skipping: Skipping, x: torch.Tensor, x_size: tuple[int, int]) -> torch.Tensor:
        """Tokens (B, H·W, C) and (H, W), as the layer."""
        size, shift = module.window_size, module.shift_size
        if skipping.differentiable:
            # Its own forward, so that stochastic depth still drops whole images.
            computed = module.plain_class.forward(module, x, x_size)
            return torch.where(skipping.tokens(*x_size, size, shift), computed, x)
        masks = None
        if shift:
            masks = skipping.once(('attention', x_size, size, shift),
                                  lambda: module.calculate_mask(x_size).to(x.device, x.dtype))

        def layer(windows: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
            attended = module.attn(module.norm1(windows), mask=None if masks is None else masks[number])
            windows = windows + module.drop_path(attended)
            return windows + module.drop_path(module.mlp(module.norm2(windows)))

        return skipping.run_windows(layer, x.view(len(x), *x_size, -1), size, shift).view(x.shape)


def skips(net: nn.Module) -> dict[str, Skip]:
    """All Swin layers."""
    return {path: SkipWindows() for path, module in net.named_modules() if isinstance(module, SwinTransformerBlock)}
