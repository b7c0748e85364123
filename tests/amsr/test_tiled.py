"""mode: tiled computes the plain network's image, tile by tile."""
import copy

import pytest
import torch
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.amsr.network import AMSR
from basicsr_amsr.execution.counter import ConvolutionCounter
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image, network

CASES = [(name, 2) for name in ('CARN', 'CARN_M', 'EDSR', 'MSRResNet', 'SRResNet', 'RCAN', 'PAN', 'RFDN', 'FSRCNN')]
CASES += [('RRDBNet', 4), ('CARN', 3), ('DnCNN', 1)]
TILED = AMSRConfig(mode='tiled')


@pytest.mark.parametrize('shape', [(1, 3, 21, 17), (3, 3, 40, 33), (1, 3, 144, 97)])
@pytest.mark.parametrize(('name', 'scale'), CASES)
def test_the_image_is_the_plain_networks(name, scale, shape):
    net, x = network(name, scale), image(*shape)
    if name == 'DnCNN':
        x = x[:, :1]  # it takes gray images
    with torch.no_grad():
        expected = net(x)
        report = accelerate_(net, TILED)
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert report.by == 'tiled' and 'tile by tile' in str(report) and net.last_mask_ratio == 1


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 2e-2), (torch.bfloat16, 1e-1), (torch.float64, 1e-9)])
def test_number_formats(dtype, tolerance):
    net, x = network('RFDN', 2).to(dtype), image(1, 3, 40, 33).to(dtype)
    with torch.no_grad():
        expected = net(x)
        accelerate_(net, TILED)
        result = net(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


def test_every_mac_is_counted_and_partial_tiles_are_not_excused():
    net, counts = network('EDSR', 2), []
    accelerate_(net, TILED)
    for variant, side in (('D', 32), ('M', 32), ('D', 33), ('M', 33)):
        net.set_variant(variant)
        with torch.no_grad(), ConvolutionCounter() as counter:
            net(image(1, 3, side, side))
        counts.append(counter.macs)
    assert counts[1] == counts[0] and counts[3] > counts[2]


def test_training_dense_variant_and_tensors_without_content_take_the_plain_network():
    net, x = network('EDSR', 2), image(1, 3, 24, 24)
    with torch.no_grad():
        expected = net(x)
    accelerate_(net, TILED)
    net(x).sum().backward()
    assert net.conv_first.weight.grad is not None
    with torch.no_grad():
        net.set_variant('D')
        assert torch.equal(net(x), expected)
        net.set_variant('M')
        assert copy.deepcopy(net).to('meta')(x.to('meta')).shape == expected.shape
        restore_(net)
        assert torch.equal(net(x), expected)


def test_a_calibration_plays_no_part():
    net = network('CARN_M', 2)
    calibration = calibrate(net, HighFrequencyMask(ratio=0.5, tile=4), [image(1, 3, 40, 40)])
    x = image(2, 3, 25, 30)
    with torch.no_grad():
        expected = net(x)
        accelerate_(net, AMSRConfig(calibration=calibration, mode='tiled', budget=0.5))
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


def test_large_images_run_in_pieces():
    net, x = network('EDSR', 2), image(1, 3, 70, 90)
    with torch.no_grad():
        expected = net(x)
        accelerate_(net, AMSRConfig(mode='tiled', piece=32, overlap=32))
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


def test_copies_compile_and_wrappers():
    net, x = network('EDSR', 2), image(1, 3, 24, 24)
    accelerate_(net, TILED)
    with torch.no_grad():
        expected = net(x)
        for other in (copy.deepcopy(net), nn.DataParallel(net), torch.compile(net, backend='eager')):
            assert torch.equal(other(x), expected)


def test_what_cannot_be_read_is_refused():
    net = network('SwinIR_light', 2)
    with pytest.raises(UserError, match='SwinIR'):
        accelerate_(net, TILED)


def test_in_option_files():
    net, x = AMSR({'type': 'EDSR', 'upscale': 2, 'num_block': 2}, mode='tiled').eval(), image(1, 3, 24, 24)
    with torch.no_grad():
        result = net(x)
        net.set_variant('D')
        torch.testing.assert_close(result, net(x), rtol=1e-5, atol=1e-5)
