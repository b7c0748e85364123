"""A tiny network that MGA can split, registered as an outsider would."""
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr import register_backbone
from basicsr_amsr.backbones import MGASplit

SCALE = 2


class ToyBase(nn.Module):
    def __init__(self, num_feat=8, num_block=2):
        super().__init__()
        self.first = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(nn.Conv2d(num_feat, num_feat, 3, 1, 1) for _ in range(num_block)))
        self.last = nn.Conv2d(num_feat, 3 * SCALE**2, 3, 1, 1)

    def extract(self, x):
        return self.body(self.first(x))

    def reconstruct(self, feature, x):
        return F.pixel_shuffle(self.last(feature), SCALE)

    def forward(self, x):
        return self.reconstruct(self.extract(x), x)


class ToyRefine(nn.Module):
    """Blocks that see no neighbours, then the unpadded convolution: a patch is refined as the whole map would be."""

    def __init__(self, num_feat=8, num_block=1):
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(num_feat, num_feat, 1, bias=False) for _ in range(num_block)))
        self.unpadded = nn.Conv2d(num_feat, num_feat, 3)
        self.last = nn.Conv2d(num_feat, 3 * SCALE**2, 1)

    def forward(self, feature, halo=True):
        feature = self.body(feature)
        feature = self.unpadded(feature if halo else F.pad(feature, (1, 1, 1, 1)))
        return F.pixel_shuffle(self.last(F.leaky_relu(feature, 0.1)), SCALE)


def split(base_blocks=2, refine_blocks=1, upscale=SCALE, num_feat=8):
    return MGASplit(ToyBase(num_feat, base_blocks), ToyRefine(num_feat, refine_blocks), num_feat)


def build(upscale=SCALE, num_feat=8):
    return ToyBase(num_feat)


def registered() -> dict:
    """Options of the toy as an MGA backbone, registered on first use."""
    from basicsr_amsr.registry import BACKBONE_REGISTRY

    if 'Toy' not in BACKBONE_REGISTRY:
        register_backbone('Toy', build=build, scales=(SCALE,), split=split, split_blocks=(2, 1))
    torch.manual_seed(0)
    return {'type': 'Toy', 'upscale': SCALE}
