"""What the error mask predicts, selects and misses in one image: figures, and a picture of them."""
from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.mask import error_target
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.registry import METRIC_REGISTRY

BINS = 10
DARKENED = 0.35
GAP = 4


@dataclass(frozen=True)
class MaskReport:
    """Error mask of one image, on the grid of patches (h, w).

    Attributes:
        predicted: what the mask module gives.
        true: what it is trained towards: |coarse − all refined| on the luminance, averaged over each patch; normalized
            per image in 0–1, unless the mask was trained on the absolute error.
        chosen: which patches M refines.
    """

    predicted: np.ndarray
    true: np.ndarray
    chosen: np.ndarray

    @property
    def l1(self) -> float:
        """Mean of |predicted − true| (section 4.4, question 2)."""
        return float(np.abs(self.predicted - self.true).mean())

    def figures(self) -> dict[str, Any]:
        """L1 error, share of chosen patches, and histograms: shares of the patches in ten equal bins up to `top`."""
        top = max(float(self.true.max()), np.finfo(np.float32).tiny)
        return {'l1': self.l1, 'keep': float(self.chosen.mean()), 'top': top,
                **{f'{name}_histogram': self._histogram(getattr(self, name) / top) for name in ('true', 'predicted')}}

    @staticmethod
    def _histogram(values: np.ndarray) -> list[float]:
        counts, _ = np.histogram(values.clip(0, 1), BINS, (0, 1))
        return (counts / values.size).tolist()

    def picture(self, image: np.ndarray, size: int) -> np.ndarray:
        """Predicted error, chosen patches over the image, true error, side by side.

        Both errors are drawn in the colours of one scale, from 0 to the largest true error. Patches that are not
        chosen are darkened.

        Args:
            image: the final image, (H, W, 3) BGR uint8.
            size: side of a patch in its pixels.
        """
        height, width = image.shape[:2]

        def enlarge(grid: np.ndarray) -> np.ndarray:
            return grid.repeat(size, 0).repeat(size, 1)[:height, :width]

        def heat(error: np.ndarray) -> np.ndarray:
            share = error / max(float(self.true.max()), np.finfo(np.float32).tiny)
            return cv2.applyColorMap(np.rint(enlarge(share.clip(0, 1)) * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)

        light = np.where(enlarge(self.chosen), 1.0, DARKENED)[..., None]
        gap = np.full((height, GAP, 3), 255, np.uint8)
        chosen = np.rint(image * light).astype(np.uint8)
        return np.concatenate([heat(self.predicted), gap, chosen, gap, heat(self.true)], axis=1)


@torch.no_grad()
def report_mask(net: MGA, x: torch.Tensor, target: torch.Tensor | None = None) -> MaskReport:
    """The report of an image (1, 3, H, W) in 0–1; it refines everything, on top of what M itself computes.

    `target`, the ground truth, is what the order 'best' needs.
    """
    feature = net.extract(x)
    coarse = net.reconstruct(feature, x)
    refined = net.refine_patches(feature, coarse, net.every_patch(feature))
    predicted = net.mask(feature)
    true = error_target(coarse, refined, net.scale, net.patch_size, normalize=net.mask.supervision != 'absolute')
    index = net.select(feature, net.ranked_by(coarse, refined, target, predicted))
    chosen = torch.zeros_like(predicted, dtype=torch.bool)
    chosen[index.batch, 0, index.row, index.col] = True
    grids = (grid[0, 0].cpu().numpy() for grid in (predicted.float(), true.float(), chosen))
    return MaskReport(*grids)


# The report of the image under test, None where the variant has no mask. BasicSR hands a metric images alone.
CURRENT: ContextVar[MaskReport | None] = ContextVar('current mask report')


@METRIC_REGISTRY.register()
def calculate_mask_l1(img: np.ndarray, img2: np.ndarray | None = None, **kwargs: Any) -> float:
    """Mean |predicted − true error| of the mask, see MaskReport; NaN in the steps before the mask's.

    Raises:
        UserError: the model is not MGAModel.
    """
    try:
        report = CURRENT.get()
    except LookupError:
        raise UserError('val: metrics: calculate_mask_l1 needs model_type: MGAModel.') from None
    return math.nan if report is None else report.l1
