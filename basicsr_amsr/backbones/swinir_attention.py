"""Attention within windows by PyTorch's fused operator, at inference."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from basicsr.archs import swinir_arch


class WindowAttention(swinir_arch.WindowAttention):
    """BasicSR's window attention with its weights and keys.

    Without gradients it runs `scaled_dot_product_attention`, with the relative position bias and the mask of shifted
    windows added to the scores, and writes no matrix of scores. With gradients it is BasicSR's own.
    """

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Windows (B · n, size², C) to the same.

        Args:
            mask: (n, size², size²), added to the scores of the windows of each of the B images. BasicSR makes it in
                single precision; it is cast to that of the windows.
        """
        mask = mask if mask is None else mask.to(x.dtype)
        if self.training or torch.is_grad_enabled():
            return super().forward(x, mask)
        windows, tokens, channels = x.shape
        query, key, value = self.qkv(x).view(windows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        scores = bias.view(1, tokens, tokens, self.num_heads).permute(0, 3, 1, 2)
        if mask is not None:
            scores = (scores + mask[:, None]).repeat(windows // len(mask), 1, 1, 1)
        scores = scores.to(query.dtype).expand(windows, -1, -1, -1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=scores, scale=self.scale)
        return self.proj(attended.transpose(1, 2).reshape(windows, tokens, channels))
