"""Networks in Python and in the commands, used as people use them: sizes, arguments, traces, exports, calibrations."""
import copy
import zipfile
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.swinir_arch import SwinIR

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.cli.conftest import options_to_test, options_to_train, write_images
from tests.faults.lines import mistake

SWINIR = {'type': 'SwinIR', 'upscale': 2, 'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': 4,
          'upsampler': 'pixelshuffle', 'mlp_ratio': 2}


def accelerated(name, mode='sparse', **options):
    net = get_backbone(name).create(upscale=2, num_feat=16, **options).eval()
    for parameter in net.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    accelerate_(net, AMSRConfig(selection=HighFrequencyMask(keep=0.5, patch_size=4), mode=mode))
    return net


@pytest.mark.parametrize('name', ['RFDN', 'CARN_M'])
def test_other_counters_beside_an_accelerated_network(basicsr, name):
    options = options_to_test(network_g={'type': 'AMSR', 'backbone': {'type': name, 'num_feat': 16},
                                         'selection': {'keep': 0.5, 'patch_size': 4}})
    code, out, err = basicsr('profile', options, '--size', '16x16', '--no-timing', '--compare', 'mmengine')
    assert code == 0, err
    assert 'mmengine' in out


@pytest.mark.parametrize('name', ['RFDN', 'CARN_M'])
@pytest.mark.parametrize('mode', ['sparse', 'dense_masked'])
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_a_trace_is_the_network_for_images_of_its_size(name, mode):
    net = accelerated(name, mode)
    with torch.no_grad():
        traced = torch.jit.trace(net, torch.rand(1, 3, 16, 16), check_trace=False)
        other = torch.rand(1, 3, 16, 16)
        other[..., :9] = 0.5
        assert torch.allclose(traced(other), net(other), atol=1e-6)


def test_export_is_refused_in_one_line_and_the_dense_network_exports():
    net, x = accelerated('CARN_M'), torch.rand(1, 3, 16, 16)
    with torch.no_grad(), pytest.raises(UserError, match=r"export the plain network, net\.set_variant\('D'\)"):
        torch.export.export(net, (x,))
    net.set_variant('D')
    with torch.no_grad():
        assert torch.allclose(torch.export.export(net, (x,)).module()(x), net(x), atol=1e-5)


def test_the_image_by_name_and_what_is_no_image():
    net, x = accelerated('CARN_M'), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net(x=x), net(x))
        for wrong in ({'lq': x}, [x], x.numpy(), None):
            with pytest.raises(UserError, match=r'CARN_M takes images as one tensor x \(B, C, H, W\), not as'):
                net(wrong)
        with pytest.raises(UserError, match='not as img'):
            net(img=x)


@pytest.mark.parametrize('size', [(1, 9), (9, 1), (1, 1), (2, 3), (3, 2)])
def test_real_esrgan_at_x2_takes_images_of_any_size(size):
    net = accelerated('RRDBNet', num_block=1, num_grow_ch=8)
    with torch.no_grad():
        assert net(torch.rand(2, 3, *size)).shape == (2, 3, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize('size', [(5, 7), (8, 8), (3, 1)])
@pytest.mark.parametrize('upsampler', ['pixelshuffle', 'pixelshuffledirect', 'nearest+conv', ''])
def test_basicsrs_swinir_takes_images_of_any_size(size, upsampler):
    scale = {'': 1, 'nearest+conv': 4}.get(upsampler, 2)
    net = SwinIR(img_size=6, window_size=4, upscale=scale, depths=(2,), num_heads=(2,), embed_dim=12,
                 upsampler=upsampler)
    with torch.no_grad():
        assert net.eval()(torch.rand(1, 3, *size)).shape[-2:] == (scale * size[0], scale * size[1])


@pytest.mark.parametrize('network', [{**SWINIR, 'img_size': 60, 'window_size': 8}, {**SWINIR, 'img_size': 10},
                                     {'type': 'SwinIR', 'upscale': 2, 'depths': [1], 'num_heads': [6],
                                      'upsampler': 'pixelshuffle'}])
def test_swinir_trains_whatever_its_img_size(basicsr, network):
    code, _, err = basicsr('train', options_to_train(network_g=network, model_type='SwinIRModel'))
    assert code == 0, err


@pytest.mark.parametrize(('changed', 'part'), [({'embed_dim': 13}, 'embed_dim 13 is no multiple of 2'),
                                               ({'num_heads': [2, 2]}, 'depths has 1 values, num_heads 2')])
def test_swinirs_values_that_do_not_go_together(basicsr, changed, part):
    assert f'network_g: SwinIR: {part}' in mistake(basicsr, 'test', options_to_test(network_g={**SWINIR, **changed}))


@pytest.mark.parametrize('network', [
    SWINIR, {'type': 'AMSR', 'backbone': SWINIR, 'selection': {'keep': 0.5}}, {'type': 'CARN_M', 'num_feat': 16}])
def test_swinirs_model_takes_every_network(basicsr, network):
    write_images(Path('odd/gt'), 'a', 30)
    write_images(Path('odd/lq'), 'a', 15)
    options = options_to_test(model_type='SwinIRModel', network_g=network)
    options['datasets']['test_1'].update(dataroot_gt='odd/gt', dataroot_lq='odd/lq')
    code, _, err = basicsr('test', options)
    assert code == 0, err


MADE = {}  # the calibrated files, made once


@pytest.fixture
def calibrated(basicsr):
    """Options of a calibrated network with its calibration in x.amsr, and what its file c.amsr holds."""
    plain = {'type': 'CARN_M', 'num_feat': 16}
    options = options_to_test(network_g=plain, path={'pretrain_network_g': 'weights.pth'})
    if not MADE:
        torch.save({'params': build_network({**plain, 'upscale': 2}).state_dict()}, 'weights.pth')
        assert basicsr('calibrate', options, '--images', 'data/gt', '--crop', '32', '-o', 'c.amsr')[0] == 0
        MADE.update({name: Path(name).read_bytes() for name in ('weights.pth', 'c.amsr')})
    for name, content in MADE.items():
        Path(name).write_bytes(content)
    options['network_g'] = {'type': 'AMSR', 'backbone': plain, 'calibration': 'x.amsr'}
    return options, torch.load('c.amsr', weights_only=True)


def without(key):
    return lambda held, first: held.pop(key) and None


DAMAGES = {
    **{f'no {key}': (without(key), f'KeyError: {key}') for key in ('network', 'graph', 'settings', 'tail')},
    'no weight': (lambda held, first: first.pop('weight').sum(), 'weight'),
    'no levels of the selection': (lambda held, first: held['settings'].pop('selection'), 'KeyError: selection'),
    'a prediction missing': (lambda held, first: held['contexts'].popitem(), 'lacks a prediction'),
    'fewer channels': (lambda held, first: first.update(weight=first['weight'][:3], bias=first['bias'][:3]),
                       'of the wrong shape, 3x32 instead of 16x32'),
    'a bias too long': (lambda held, first: first.update(bias=torch.zeros(99)), 'of the wrong shape'),
    'not a number': (lambda held, first: first['bias'].fill_(float('nan')), 'values that are not finite (contexts.'),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_calibration_that_is_not_whole(basicsr, calibrated, damage):
    options, held = calibrated
    change, part = DAMAGES[damage]
    held = copy.deepcopy(held)
    change(held, next(iter(held['contexts'].values())))
    torch.save(held, 'x.amsr')
    line = mistake(basicsr, 'test', options)
    assert part in line and 'calibrat' in line, line


def test_one_flipped_byte_of_a_calibration(basicsr, calibrated):
    options, _ = calibrated
    whole = bytearray(Path('c.amsr').read_bytes())
    with zipfile.ZipFile('c.amsr') as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    whole[largest.header_offset + largest.file_size // 2 + 100] ^= 64
    Path('x.amsr').write_bytes(whole)
    assert 'x.amsr is no readable calibration' in mistake(basicsr, 'test', options)
