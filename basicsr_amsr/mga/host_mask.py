"""The end of a mask prediction on the host, which wakes no thread that the native kernels would have to wait for."""
from __future__ import annotations

import numpy as np
import torch

from basicsr_amsr.mga.mask import NEIGHBOURHOOD, MaskPrediction


def error_mask(mask: MaskPrediction, scores: torch.Tensor) -> torch.Tensor:
    """The error mask (N, 1, H/p, W/p) of what `MaskPrediction.scores` gives, (N, 1, H, W), float32, on the CPU.

    The dynamic convolution's kernels w·m + b are linear in the mask m, so that it is m · (w ⋆ m) + b ⋆ m.
    """
    means = _means(scores.numpy()[:, 0], mask.patch_size)
    if mask.pools_logits:
        means = 1 / (1 + np.exp(-means))
    height, width = means.shape[1:]
    half = NEIGHBOURHOOD // 2
    around = np.pad(means, ((0, 0), (half, half), (half, half)))
    bias = mask.kernel.bias
    assert bias is not None
    products, sums = np.zeros_like(means), np.zeros_like(means)
    for number, (weight, offset) in enumerate(zip(mask.kernel.weight.flatten().tolist(), bias.tolist(), strict=True)):
        row, col = divmod(number, NEIGHBOURHOOD)
        shifted = around[:, row:row + height, col:col + width]
        products += np.float32(weight) * shifted
        sums += np.float32(offset) * shifted
    return torch.from_numpy(means * products + sums)[:, None]


def _means(values: np.ndarray, size: int) -> np.ndarray:
    """The means over squares: (N, H, W) to (N, H/size, W/size)."""
    rows = sum(values[:, first::size] for first in range(1, size)) + values[:, ::size]
    means: np.ndarray = sum(rows[..., first::size] for first in range(1, size)) + rows[..., ::size]
    return means / np.float32(size * size)
