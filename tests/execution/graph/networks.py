"""Networks that the graph has to read: name to how it is built, and which sides it takes."""
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.rcan_arch import RCAN
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch import nn

from basicsr_amsr.backbones import get_backbone
from tests.backbones.tiny import OPTIONS, network

OF_BASICSR: dict[str, Callable[[], nn.Module]] = {
    'SRVGGNetCompact': lambda: SRVGGNetCompact(num_feat=8, num_conv=3, upscale=4),
    'RRDBNet x2': lambda: RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4),
    'RRDBNet x4': lambda: RRDBNet(3, 3, scale=4, num_feat=8, num_block=1, num_grow_ch=4),
    'MSRResNet of BasicSR': lambda: MSRResNet(num_feat=8, num_block=2),
    'EDSR of BasicSR': lambda: EDSR(3, 3, num_feat=8, num_block=2),
    'RCAN of BasicSR': lambda: RCAN(3, 3, num_feat=8, num_group=2, num_block=1, squeeze_factor=2),
}
# Architecture of spandrel: module, class, options.
OF_SPANDREL = {
    'SPAN': ('SPAN.__arch.span', 'SPAN', {'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8}),
    'PLKSR': ('PLKSR.__arch.PLKSR', 'PLKSR', {'dim': 8, 'n_blocks': 2}),
    'SAFMN': ('SAFMN.__arch.safmn', 'SAFMN', {'dim': 8, 'n_blocks': 2}),
    'DITN': ('DITN.__arch.DITN_Real', 'DITN_Real', {'dim': 12, 'ITL_blocks': 1, 'SAL_blocks': 1, 'UFONE_blocks': 1}),
    'MoSR': ('MoSR.__arch.mosr_arch', 'MoSR', {'dim': 8, 'n_block': 2}),
}


class Winding(nn.Module):
    """Control flow on sizes, padding to a multiple, type_as, einops, and a tensor that is made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_first, self.conv_last = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 12, 3, padding='same')
        self.mean = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)

    def forward(self, x):
        from einops import rearrange
        height, width = x.shape[2:]
        x = x - self.mean.type_as(x)
        x = F.pad(x, (0, (4 - width % 4) % 4, 0, (4 - height % 4) % 4), 'replicate')
        feature = self.conv_first(x)
        if height > 16:
            feature = feature * torch.linspace(0, 1, feature.shape[-1], dtype=x.dtype, device=x.device)
        else:
            feature[:, :4].relu_()
        windows = rearrange(feature, 'b c (h s) (w t) -> (b h w) c s t', s=4, t=4)
        windows = windows - windows.mean((2, 3), keepdim=True)
        feature = rearrange(windows, '(b h w) c s t -> b c (h s) (w t)', h=feature.shape[2] // 4,
                            w=feature.shape[3] // 4)
        return F.pixel_shuffle(self.conv_last(feature), 2)[:, :, :2 * height, :2 * width]


def build(name: str) -> nn.Module:
    """A tiny network, seeded, in evaluation mode; skips where spandrel is not installed."""
    torch.manual_seed(0)
    if name in OF_BASICSR:
        return OF_BASICSR[name]().eval()
    if name == 'Winding':
        pytest.importorskip('einops')
        return Winding().eval()
    if name in OF_SPANDREL:
        pytest.importorskip('spandrel')
        import importlib
        module, cls, options = OF_SPANDREL[name]
        return getattr(importlib.import_module(f'spandrel.architectures.{module}'), cls)(**options).eval()
    return network(name, max(get_backbone(name).scales))


def channels(name: str) -> int:
    """Of the image."""
    return get_backbone(name).channels if name in OPTIONS else 3


WINDOWS = ('SwinIR', 'SwinIR_light')  # traced in seconds, anew for many sizes
NAMES = [*(name for name in OPTIONS if name not in (*WINDOWS, 'DAT')), *OF_BASICSR, *OF_SPANDREL, 'Winding']
