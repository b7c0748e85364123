"""Tiny window transformers, and predictions for them."""
from __future__ import annotations

import pytest
import torch

from basicsr_amsr.backbones.tokens import TokenFamily, token_family
from basicsr_amsr.execution.tokens.whole_maps import Reference
from basicsr_amsr.execution.torch_sparse.prediction import Affine, LightTail, Prediction


def dat(upsampler: str = 'pixelshuffledirect', upscale: int = 2, depth=(5,)):
    """DAT of spandrel, seeded, in evaluation mode; its batch normalisations do something."""
    pytest.importorskip('spandrel')
    from spandrel.architectures.DAT import DAT

    torch.manual_seed(0)
    net = DAT(img_size=64, embed_dim=64, split_size=[8, 16], depth=list(depth), num_heads=[4] * len(depth),
              expansion_factor=2.0, upscale=upscale, resi_connection='3conv', upsampler=upsampler).eval()
    return seasoned(net)


def craft():
    """CRAFT of spandrel, likewise."""
    pytest.importorskip('spandrel')
    from spandrel.architectures.CRAFT import CRAFT

    torch.manual_seed(0)
    return seasoned(CRAFT(embed_dim=64, depths=[2, 1], num_heads=[4, 4], upscale=2).eval())


def seasoned(net):
    """With weights and statistics at random, so that every layer matters."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and 'attn_mask' not in name and 'biases' not in name:
            tensor.mul_(6.0 if '.qkv.' in name or '.pos.' in name else 1.0)
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return net


NETWORKS = {
    'DAT': dat,
    'DAT, two groups': lambda: dat(depth=(3, 2)),
    'DAT, classical upsampler': lambda: dat('pixelshuffle'),
    'CRAFT': craft,
}


class Reads(Reference):
    """Notes what is read of skipped tokens."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__(x)
        self.reads: list[tuple[str, int, int]] = []
        self.outputs = 0

    def _recorded(self, kind, number, value, heads=0):
        if kind == 'image':
            self.outputs = value.shape[2]
        else:
            self.reads.append((kind, value.shape[2], heads))
        return value


def family_of(net) -> TokenFamily:
    """That knows the network."""
    family = token_family(net)
    assert family is not None
    return family


@torch.no_grad()
def some_prediction(net, scale: int = 2) -> Prediction:
    """At random, for a network, of the shapes that it needs."""
    family, x = family_of(net), torch.rand(1, 3, 32, 32)
    reads = Reads(family.pad(net, x))
    family.forward(net, family.pad(net, x), reads)
    generator, width = torch.Generator().manual_seed(2), reads.anchor.shape[1]

    def affine(outputs: int, features: int, size: float = 0.05, scale: int = 1) -> Affine:
        weight = size * torch.randn(outputs, features, generator=generator)
        return Affine(weight, size * torch.randn(outputs, generator=generator), scale)

    contexts = {}
    for number, (kind, channels, heads) in enumerate(reads.reads):
        if kind == 'moments':
            contexts[number] = affine((channels // 2) ** 2 // heads + channels, 3 * width)
        else:
            contexts[number] = affine(channels, (3 if kind == 'sum' else 2) * width)
    tail = LightTail(0.05 * torch.randn(reads.outputs, 3, 5, 5, generator=generator),
                     affine(reads.outputs, width, scale=scale)) if reads.outputs else None
    return Prediction(contexts, tail)
