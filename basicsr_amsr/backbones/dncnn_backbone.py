"""DnCNN: Beyond a Gaussian Denoiser, Residual Learning of Deep CNN (Zhang et al., TIP 2017)."""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from basicsr_amsr.backbones.keys import Rule, StateDict, identifier, renamer
from basicsr_amsr.backbones.spec import register_backbone


class DnCNN(nn.Module):
    """DnCNN: it predicts the noise and takes it away.

    3×3 convolutions without bias; batch normalisation and ReLU after all but the first (ReLU alone) and the last.

    Args:
        num_in_ch: image channels, 1 for gray.
        num_feat: channels of the body.
        num_layer: convolutions, the first and the last included: 17 in the public weights of SFM and in DnCNN-S,
            20 in DnCNN-B.
    """

    def __init__(self, num_in_ch: int = 1, num_feat: int = 64, num_layer: int = 17) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, 1, 1, bias=False), nn.ReLU(inplace=True)]
        for _ in range(num_layer - 2):
            layers += [nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False), nn.BatchNorm2d(num_feat),
                       nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(num_feat, num_in_ch, 3, 1, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Noisy image (N, C, H, W) in 0–1 to the clean one, of the same size; it may leave 0–1."""
        return x - self.body(x)


PUBLIC_NAMES: list[Rule] = [(r'(dncnn\.)+', 'body.')]


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options."""
    first = state_dict['body.0.weight']
    convolutions = sum(weight.dim() == 4 for weight in state_dict.values())
    return {'num_in_ch': first.shape[1], 'num_feat': first.shape[0], 'num_layer': convolutions}


register_backbone(
    'DnCNN', DnCNN, scales=(1,), channels=1, convert=renamer(PUBLIC_NAMES),
    identify=identifier(read_options, ['body.0.weight', 'body.3.running_mean'], PUBLIC_NAMES),
    source='Zhang et al., Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, TIP 2017')
