"""Large images in tiles: what is cut, and what converted networks make of it."""
import math

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.native import selection as native_selection
from basicsr_amsr.execution.tiles import cut, in_tiles
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60), st.integers(0, 30), st.integers(1, 9))
def test_tiles_keep_each_pixel_once_and_read_the_overlap(height, width, size, tile_pad, step):
    kept = torch.zeros(height, width, dtype=torch.int)
    for tile in cut(height, width, size, tile_pad, step):
        kept[tile.kept_rows, tile.kept_cols] += 1
        for read, keep, length in ((tile.rows, tile.kept_rows, height), (tile.cols, tile.kept_cols, width)):
            assert keep.stop - keep.start <= math.ceil(size / step) * step
            assert read.start % step == 0 and keep.start % step == 0
            assert read.start <= max(keep.start - tile_pad, 0) and read.stop >= min(keep.stop + tile_pad, length)
    assert (kept == 1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(6, 20), st.integers(1, 5))
def test_a_convolution_needs_its_reach_as_overlap(height, width, size, step):
    conv, x = nn.Conv2d(2, 12, 5, padding=2), torch.rand(2, 2, height, width)
    grow = nn.Sequential(conv, nn.PixelShuffle(2))
    with torch.no_grad():
        torch.testing.assert_close(in_tiles(lambda tile: grow(tile.of(x)), x, size, 2, step), grow(x))


def small():
    torch.manual_seed(0)
    net = MSRResNet(num_feat=8, num_block=2).eval()
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return net


@pytest.mark.parametrize('calibrated', [False, True])
@pytest.mark.parametrize('patch_size', [1, 4])
def test_tiles_with_enough_overlap_equal_the_whole_image_and_its_masks(monkeypatch, calibrated, patch_size):
    net, x = small(), torch.rand(2, 3, 61, 50)
    x[0, :, :, :30] *= 0.3
    selection = HighFrequencyMask(keep=0.4, patch_size=patch_size, smooth=5)
    calibration = calibrate(net, [torch.rand(1, 3, 64, 64)], selection, one_level=False) if calibrated else None
    given = {'selection': selection, 'calibration': calibration, 'mode': 'sparse'}
    accelerate_(net, AMSRConfig(**given))
    with torch.no_grad():
        expected, keep = net(x), net.last_keep
        accelerate_(net, AMSRConfig(**given, tile=24, tile_pad=16))
        made = []
        score, native = HighFrequencyMask.score, native_selection._detail
        monkeypatch.setattr(HighFrequencyMask, 'score', lambda self, images: made.append(images.shape) or score(
            self, images))
        monkeypatch.setattr(native_selection, '_detail', lambda self, images, *given, **named: made.append(
            images.shape) or native(self, images, *given, **named))
        result = net(x)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert made == [x.shape]
    assert net.last_keep == pytest.approx(float(keep), abs=0.03)  # border patches are cut
    net.set_variant('D')
    with torch.no_grad():
        torch.testing.assert_close(net(x), small()(x), atol=1e-5, rtol=0)
    assert net.last_keep == 1


def test_without_overlap_borders_show():
    net, x = small(), torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        expected = net(x)
        accelerate_(net, AMSRConfig(HighFrequencyMask(keep=1.0, patch_size=4), mode='sparse', tile=16, tile_pad=0))
        assert not torch.allclose(net(x), expected, atol=1e-4)


def test_a_budget_and_windows_are_those_of_the_whole_image():
    torch.manual_seed(0)
    net = build({'type': 'SwinIR_light', 'upscale': 2, 'depths': [2], 'num_heads': [2], 'embed_dim': 12}).eval()
    x = torch.rand(1, 3, 48, 72)
    accelerate_(net, AMSRConfig(mode='sparse', budget=0.7))
    with torch.no_grad():
        expected, keep = net(x), float(net.last_keep)
        accelerate_(net, AMSRConfig(mode='sparse', budget=0.7, tile=32, tile_pad=32))
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=0)
    assert net.last_keep == pytest.approx(keep)


def test_a_calibrated_network_chooses_by_its_own_budget():
    net, x = small(), torch.rand(1, 3, 48, 48)
    selection = HighFrequencyMask(keep=0.4, patch_size=4, smooth=5)
    calibration = calibrate(net, [torch.rand(1, 3, 64, 64)], selection, one_level=False)
    given = {'calibration': calibration, 'mode': 'sparse', 'budget': 0.8}
    accelerate_(net, AMSRConfig(**given))
    with torch.no_grad():
        expected, keep = net(x), float(net.last_keep)
        accelerate_(net, AMSRConfig(**given, tile=24, tile_pad=16))
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=0)
    assert 0 < keep < 1 and net.last_keep == pytest.approx(keep)


def test_training_takes_the_whole_image():
    net, x = small(), torch.rand(1, 3, 32, 32)
    accelerate_(net, AMSRConfig(HighFrequencyMask(keep=0.5, patch_size=4), tile=16, tile_pad=0))
    image = net(x)
    assert image.requires_grad
    with torch.no_grad():
        accelerate_(net, AMSRConfig(HighFrequencyMask(keep=0.5, patch_size=4), mode='dense_masked'))
        torch.testing.assert_close(net(x), image)


@pytest.mark.parametrize('variant', ['B', 'D', 'A', 'M'])
def test_mga_in_tiles(variant):
    torch.manual_seed(0)
    backbone = {'type': 'SRResNet', 'upscale': 2, 'num_feat': 8, 'base_blocks': 2, 'refine_blocks': 1}
    net = MGA(backbone, variant, k=0.25).eval()
    x = torch.rand(2, 3, 53, 70)
    with torch.no_grad():
        expected, keep = net(x), net.last_keep
        net.tile, net.tile_pad = 24, 16
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=0)
    assert net.last_keep == keep


@pytest.mark.parametrize(('key', 'value'), [('tile', 0), ('tile', 2.5), ('tile_pad', -1), ('tile_pad', None)])
def test_sizes_that_are_not_possible_are_named(key, value):
    with pytest.raises(UserError, match=f'^{key} is '):
        AMSRConfig(**{key: value})
