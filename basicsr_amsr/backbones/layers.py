"""Building blocks that several network families share."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.errors import UserError


def check_upscale(network: str, upscale: int, scales: tuple[int, ...] = (2, 3, 4)) -> int:
    """`upscale` itself where the family exists for it.

    Raises:
        UserError: it does not.
    """
    if upscale not in scales:
        raise UserError(f'{network}: upscale {upscale} is not among {", ".join(map(str, scales))}.')
    return upscale


def convolve(conv: nn.Conv2d, x: torch.Tensor, halo: bool) -> torch.Tensor:
    """Apply a 3×3 convolution of a refine net.

    One made without padding consumes a halo of one where there is one, and is zero-padded where there is none: with
    and without halo, (N, C, h + 2, w + 2) and (N, C, h, w) both become (N, C', h, w).
    """
    return conv(x) if halo or conv.padding != (0, 0) else conv(F.pad(x, (1, 1, 1, 1)))


class HaloConvs(nn.Module):
    """The end of MGA's refine body: two 3×3 convolutions of which the second is unpadded and consumes the halo.

    D runs without halo, zero-padded: with one around the map RCAN-D would cost 0.5 % more than table 1 prints. What
    activation stands between them no cost tells; the authors' FSRCNN and RFDN have this one.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3)

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, C, h, w)."""
        return convolve(self.conv2, self.act(self.conv1(x)), halo)

    @torch.no_grad()
    def start_as_identity(self, least: torch.Tensor) -> None:
        """Let both convolutions hand on their input, so that the upsampler sees the body's output.

        Args:
            least: (C,), the least values of the input: what is not under them passes `act` above 0, and comes back.
        """
        for conv, bias in ((self.conv1, (-least).clamp(min=0)), (self.conv2, least.clamp(max=0))):
            nn.init.dirac_(conv.weight)
            assert conv.bias is not None
            conv.bias.copy_(bias)
