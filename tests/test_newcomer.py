"""A network from its paper, in one file: added, calibrated and accelerated (docs/own_backbone.md)."""
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import basicsr_amsr as sr
from basicsr_amsr.cli import main
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


class ECB(nn.Module):
    """Edge-oriented convolutions: 3×3, 1×1 and 3×3, and 1×1 followed by Sobel and Laplace filters, added."""

    def __init__(self, channels_in, channels_out, wide=2):
        super().__init__()
        self.plain = nn.Conv2d(channels_in, channels_out, 3, 1, 1)
        self.widen = nn.Conv2d(channels_in, wide * channels_out, 1)
        self.narrow = nn.Conv2d(wide * channels_out, channels_out, 3, 1, 1)
        self.into_edges = nn.ModuleList(nn.Conv2d(channels_in, channels_out, 1) for _ in range(3))
        self.strength = nn.ParameterList(nn.Parameter(1e-3 * torch.randn(channels_out, 1, 1, 1)) for _ in range(3))
        sobel = torch.tensor([[1., 0, -1], [2, 0, -2], [1, 0, -1]])
        laplace = torch.tensor([[0., 1, 0], [1, -4, 1], [0, 1, 0]])
        self.register_buffer('edges', torch.stack([sobel, sobel.T, laplace])[:, None, None])

    def forward(self, x):
        result = self.plain(x) + self.narrow(self.widen(x))
        for conv, strength, edge in zip(self.into_edges, self.strength, self.edges, strict=True):
            result = result + F.conv2d(conv(x), strength * edge, padding=1, groups=conv.out_channels)
        return result


@sr.register_backbone(scales=(2, 4), source='Zhang et al., Edge-oriented Convolution Block, ACM MM 2021')
class ECBNet(nn.Module):
    """Head, `num_block` blocks of `num_feat` channels and tail, each an ECB; the repeated LR image is added."""

    def __init__(self, upscale=4, num_feat=16, num_block=4):
        super().__init__()
        self.upscale = upscale
        widths = [3, *[num_feat] * (num_block + 1)]
        layers = [(ECB(a, b), nn.PReLU(b)) for a, b in pairwise(widths)]
        self.body = nn.Sequential(*(module for pair in layers for module in pair))
        self.tail = ECB(num_feat, 3 * upscale**2)

    def forward(self, x):
        return F.pixel_shuffle(self.tail(self.body(x)) + x.repeat_interleave(self.upscale**2, 1), self.upscale)


@pytest.fixture(scope='module')
def images():
    """Smooth on the left, noisy on the right."""
    noise = torch.rand(4, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    return [F.pad(image[None, :, :, 32:], (32, 0, 0, 0), mode='replicate') for image in noise]


def test_it_is_calibrated_and_accelerated(images):
    torch.manual_seed(0)
    net = ECBNet().eval()
    with torch.no_grad(), MacCounter() as dense:
        plain = net(images[0])
    calibration = sr.calibrate(net, images[1:])
    report = sr.accelerate_(net, sr.AMSRConfig(calibration=calibration, mode='sparse'))
    assert '30 Conv2d with 94% of the weights run where the mask is' in str(report)
    with torch.no_grad(), MacCounter() as sparse:
        picture = net(images[0])
    assert picture.shape == plain.shape == (1, 3, 192, 256)
    assert 0.2 < float(net.last_keep) < 0.8 and sparse.macs < 0.9 * dense.macs
    assert (picture - plain).square().mean() < 0.01 * plain.var()
    whole = sr.AMSRConfig(calibration=calibration, selection=HighFrequencyMask(keep=1.0, patch_size=4), mode='sparse')
    sr.accelerate_(net, whole)
    with torch.no_grad():
        torch.testing.assert_close(net(images[0]), plain, rtol=1e-4, atol=1e-4)
        assert torch.equal(sr.restore_(net)(images[0]), plain)


def test_it_is_calibrated_and_run_from_the_command_line(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({'params': ECBNet().state_dict()}, 'ecb.pth')
    for number, image in enumerate(images):
        Image.fromarray((image[0].permute(1, 2, 0) * 255).byte().numpy()).save(f'{number}.png')
    Path('ecb.yml').write_text('network_g: {type: ECBNet, upscale: 4}\npath: {pretrain_network_g: ecb.pth}\n')
    assert main(['calibrate', '-opt', 'ecb.yml', '--images', '.', '-o', 'ecb.amsr']) == 0
    assert main(['infer', '-opt', 'ecb.yml', '--calibration', 'ecb.amsr', '-i', '0.png', '-o', 'out.png']) == 0
    assert Image.open('out.png').size == (256, 192) and 'calibrated' in capsys.readouterr().out
    assert main(['profile', '-opt', 'ecb.yml', '--size', '16x16', '--no-timing']) == 0
