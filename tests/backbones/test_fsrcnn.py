"""FSRCNN: how a fresh one starts."""
import pytest
import torch

from basicsr_amsr.backbones import get_backbone


@torch.no_grad()
def test_a_fresh_network_hands_on_its_signal():
    """He's initialisation keeps the mean square from layer to layer; PyTorch's default leaves a tenth of its root."""
    torch.manual_seed(0)
    net = get_backbone('FSRCNN').create(upscale=4)
    x = torch.rand(1, 3, 48, 48)
    share = net.extract(x).square().mean().sqrt() / x.square().mean().sqrt()
    assert 0.3 < share < 3
    assert float(net.upsampler.deconv.weight.std()) == pytest.approx(0.001, rel=0.05)  # as its authors have it
    parts = get_backbone('FSRCNN').split(upscale=4)
    feature = torch.randn(1, 12, 48, 48)
    refined = parts.refine.conv(parts.refine.mapping(feature))
    assert 0.3 < refined.square().mean().sqrt() < 3
