"""Mask prediction (MGA, section 3.3 and figure 4) and its training target (section 3.5)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from basicsr.utils.color_util import rgb2ycbcr_pt
from torch import nn

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.precision import in_full_precision

NEIGHBOURHOOD = 5
POOLING = ('after_softmax', 'before_softmax')
CHANNELS = (1, 2)
# What a mask was trained towards, in the order in which the checkpoint's number tells it.
SUPERVISIONS = ('untrained', 'normalized', 'absolute', 'none')


class MaskPrediction(nn.Module):
    """Predicts the error mask from the coarse feature.

    3×3 convolution, ReLU, 3×3 convolution to two channels, softmax over the channels, average over p×p, of which the
    second channel is kept ("under-SR"); then a dynamic convolution: a 1×1 convolution makes a 5×5 kernel for every
    mask element from the mask itself, and the kernel is applied to the element's 5×5 neighbourhood.

    Args:
        num_feat: channels C of the coarse feature.
        patch_size: p ≥ 1.
        pooling: 'after_softmax', or 'before_softmax' as the text of section 3.3 has it.
        channels: 2, or 1 for the ablation of table 3, which has no softmax: of two channels it is the sigmoid of their
            difference, so that one channel with a sigmoid would be the same predictor.
    """

    supervision_code: torch.Tensor

    def __init__(self, num_feat: int, patch_size: int = 4, pooling: str = 'after_softmax', channels: int = 2) -> None:
        super().__init__()
        if pooling not in POOLING:
            raise UserError(f"network_g: mask_pooling '{pooling}' is unknown. {suggestion(pooling, POOLING)}")
        if channels not in CHANNELS:
            raise UserError(f'network_g: mask_channels is {channels!r}: give 2, or 1 as in table 3.')
        self.patch_size = patch_size
        self.pooling = pooling
        self.register_buffer('supervision_code', torch.tensor(0, dtype=torch.uint8))
        self.read_supervision()
        self.register_load_state_dict_post_hook(lambda module, _: module.read_supervision())
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(num_feat, channels, 3, 1, 1)
        self.kernel = nn.Conv2d(1, NEIGHBOURHOOD**2, 1)
        self.start_as_identity()

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Let the dynamic convolution hand on the mask. From random kernels, whose sums are far from the target at
        first, training drives the mask to zero, where it has no gradient, before the features count."""
        assert self.kernel.bias is not None
        nn.init.zeros_(self.kernel.weight)
        nn.init.zeros_(self.kernel.bias)
        self.kernel.bias[NEIGHBOURHOOD**2 // 2] = 1

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Coarse feature (N, C, H, W) to error mask (N, 1, ⌈H/p⌉, ⌈W/p⌉); larger means a larger expected error.

        Under autocast the mask is float32 from its softmax on: in bf16 many patches would be equally bad.
        """
        logits = self.logits(self.padded(feature))
        with in_full_precision(feature.device):
            return self.from_logits(logits.to(self.kernel.weight.dtype))

    def padded(self, feature: torch.Tensor) -> torch.Tensor:
        """The feature in whole patches."""
        height, width = feature.shape[-2:]
        return F.pad(feature, (0, -width % self.patch_size, 0, -height % self.patch_size))

    def logits(self, feature: torch.Tensor) -> torch.Tensor:
        """The output of the two convolutions, (N, 2 or 1, H, W), for a feature in whole patches."""
        return self.conv2(self.relu(self.conv1(feature)))

    @property
    def pools_logits(self) -> bool:
        """Whether the softmax is behind the average over the patches."""
        return self.conv2.out_channels == 2 and self.pooling == 'before_softmax'

    def scores(self, feature: torch.Tensor) -> torch.Tensor:
        """What is averaged over the patches, (N, 1, H, W), for a feature in whole patches: of two channels the second
        one of the softmax, the sigmoid of their difference, or that difference where the softmax comes later."""
        logits = self.logits(feature)
        if logits.shape[1] == 1:
            return logits
        difference = logits[:, 1:] - logits[:, :1]
        return difference if self.pools_logits else difference.sigmoid()

    def from_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """The error mask of what the convolutions give, (N, 2 or 1, H, W) with H and W multiples of p."""
        p = self.patch_size
        if logits.shape[1] == 1:
            under_sr = F.avg_pool2d(logits, p)
        elif self.pooling == 'after_softmax':
            under_sr = F.avg_pool2d(logits.softmax(1)[:, 1:], p)
        else:
            under_sr = F.avg_pool2d(logits, p).softmax(1)[:, 1:]
        return self.dynamic_convolution(under_sr)

    def set_supervision(self, supervision: str) -> None:
        """Note, for the checkpoint, what the mask is being trained towards: one of SUPERVISIONS."""
        self.supervision_code.fill_(SUPERVISIONS.index(supervision))
        self.read_supervision()

    def read_supervision(self) -> None:
        """Set `supervision` to what the checkpoint says."""
        code = 0 if self.supervision_code.is_meta else int(self.supervision_code)
        self.supervision = SUPERVISIONS[min(code, len(SUPERVISIONS) - 1)]

    def check_threshold(self) -> None:
        """UserError where a threshold means nothing, because the mask was trained towards something relative."""
        if self.supervision in ('normalized', 'none'):
            how = 'on the error normalized per image' if self.supervision == 'normalized' else 'without supervision'
            raise UserError(f'network_g: k: a threshold needs a mask trained on the absolute error, and this one was '
                            f'trained {how}: give a number, a share or a budget, or train step M with '
                            'supervision: absolute.')

    def dynamic_convolution(self, mask: torch.Tensor) -> torch.Tensor:
        """Apply to each element of (N, 1, h, w) its own 5×5 kernel (zeros outside)."""
        kernels = self.kernel(mask)
        neighbours = F.unfold(mask, NEIGHBOURHOOD, padding=NEIGHBOURHOOD // 2).view_as(kernels)
        return (kernels * neighbours).sum(1, keepdim=True)


def error_target(coarse: torch.Tensor, refined: torch.Tensor, scale: int, patch_size: int,
                 normalize: bool = True) -> torch.Tensor:
    """The mask that the prediction is trained towards (section 3.5): where refinement changes the picture.

    |coarse − refined| on the luminance, min–max normalised per image unless `normalize` is False, averaged over the
    (s·p)×(s·p) pixels of each patch (over those inside the image).

    Args:
        coarse, refined: RGB images (N, 3, s·H, s·W) in 0–1.
        scale: s.
        patch_size: p, in LR pixels.

    Returns:
        (N, 1, ⌈H/p⌉, ⌈W/p⌉), in 0–1.
    """
    error = (rgb2ycbcr_pt(coarse, y_only=True) - rgb2ycbcr_pt(refined, y_only=True)).abs()
    if normalize:
        low = error.amin((1, 2, 3), keepdim=True)
        high = error.amax((1, 2, 3), keepdim=True)
        error = (error - low) / (high - low).clamp_min(torch.finfo(error.dtype).tiny)
    size = scale * patch_size
    return F.avg_pool2d(error, size, ceil_mode=True, count_include_pad=False)
