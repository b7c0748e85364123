"""`Upscaler`: every kind of picture, every size, near to the network's own picture."""
import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from PIL import Image

from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.errors import UserError
from basicsr_amsr.infer.find_network import Network, find_network, weights_key
from basicsr_amsr.infer.pixels import of_array
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.weights.pretrained import load_pretrained
from tests.backbones.tiny import network
from tests.infer.conftest import picture
from tests.kernels import needs_kernels


def dense_picture(net, array):
    planes = torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net(planes)[0].permute(1, 2, 0).clamp(0, 1).numpy()


@needs_kernels
def test_dense_is_the_network_itself(tiny):
    array = picture(24, 31)
    upscale = Upscaler(tiny, device='cpu', dtype=torch.float32)
    assert upscale.form.dtype == 'fp32'
    assert upscale.form.kind == 'dense' and 'no calibration' in str(upscale.form) and upscale.scale == 2
    result = upscale(array.astype(np.float32) / 255)
    assert np.abs(result - dense_picture(tiny, array)).max() < 1e-5
    assert not hasattr(tiny, 'amsr')  # it was copied


def test_a_calibration_skips_and_stays_near(tiny, fitted):
    array = picture(48, 60)
    upscale = Upscaler(tiny, calibration=fitted, device='cpu', dtype='fp32')
    result = upscale(array)
    assert upscale.form.kind == 'calibrated' and 0 < upscale.last_keep < 1
    assert str(upscale.form).startswith('calibrated, keep 0.5, fp32, cpu')
    active = upscale.active(of_array(array))
    assert float(active.float().mean()) == pytest.approx(upscale.last_keep)
    error = np.abs(result / 255. - dense_picture(tiny, array))
    inside = np.kron(active[0].numpy(), np.ones((8, 8), bool))[:96, :120]
    assert error[inside].mean() < 0.02
    more = Upscaler(tiny, calibration=fitted, keep=0.9, device='cpu', dtype='fp32')
    more(array)
    assert more.last_keep > upscale.last_keep


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (5, 1), (3, 3), (17, 13)])
@pytest.mark.parametrize('calibrated', [False, True])
def test_every_size(tiny, fitted, size, calibrated):
    upscale = Upscaler(tiny, calibration=fitted if calibrated else None, device='cpu')
    array = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert upscale(array).shape == (2 * size[0], 2 * size[1], 3)


KINDS = {(): np.uint8, (1,): np.uint8, (2,): np.uint8, (3,): np.uint16, (4,): np.uint16}


@pytest.mark.parametrize(('channels', 'dtype'), KINDS.items())
def test_arrays_keep_their_form(tiny, channels, dtype):
    upscale = Upscaler(tiny, device='cpu')
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 7, *channels), dtype=dtype)
    result = upscale(array)
    assert result.shape == (18, 14, *channels) and result.dtype == dtype


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'HSV', 'LAB', 'I;16', 'RGBa'])
def test_pillow_images_of_every_mode(tiny, mode):
    upscale = Upscaler(tiny, device='cpu')
    plain = Image.fromarray(picture(12, 10))
    image = (Image.fromarray(picture(12, 10, 1, 16)) if mode == 'I;16' else plain.convert('RGBA').convert(mode)
             if mode == 'RGBa' else plain.convert('RGB').convert(mode))
    result = upscale(image)
    assert result.size == (20, 24)
    kept = {'1': 'L', 'L': 'L', 'LA': 'LA', 'RGBA': 'RGBA', 'RGBa': 'RGBA', 'I;16': 'I;16'}
    assert result.mode == kept.get(mode, 'RGB')


def test_tensors_keep_their_form(tiny):
    upscale = Upscaler(tiny, device='cpu')
    for shape, dtype in (((3, 8, 9), torch.float32), ((2, 3, 8, 9), torch.float64), ((1, 8, 9), torch.uint8)):
        given = torch.ones(shape) * 0.5
        result = upscale(given.mul(255).byte() if dtype == torch.uint8 else given.to(dtype))
        assert result.dtype == dtype and result.shape == (*shape[:-2], 16, 18)


def test_sixteen_bits_stay(tiny):
    ramp = np.linspace(0, 65535, 40 * 40).round().astype(np.uint16).reshape(40, 40)
    for array in (ramp, np.stack([ramp] * 3, -1)):
        assert len(np.unique(Upscaler(tiny, device='cpu')(array))) > 1000


def test_the_edges_of_transparent_pictures_are_clean(tiny):
    array = np.zeros((24, 24, 4), np.uint8)  # a red square; what is invisible is green
    array[..., 1] = 255
    array[8:16, 8:16] = (255, 0, 0, 255)
    result = Upscaler(tiny, device='cpu')(array)
    alone = Upscaler(tiny, device='cpu')(np.tile(np.uint8([255, 0, 0]), (24, 24, 1)))
    assert (result[..., 3] == 0).any() and (result[20:28, 20:28, 3] == 255).all()
    assert (result[:12, :, 3] == 0).all() and (result[..., :3] == alone).all()


def test_an_opaque_alpha_costs_nothing(tiny, monkeypatch):
    upscale, runs = Upscaler(tiny, device='cpu'), []
    monkeypatch.setattr(upscale, '_run', lambda x: runs.append(x) or x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    array = np.full((6, 6, 4), 255, np.uint8)
    assert (upscale(array) == 255).all() and len(runs) == 1


def test_gray_networks_take_colours_one_by_one():
    net = network('EDSR', 2, num_in_ch=1, num_out_ch=1, rgb_mean=(0.5,))
    upscale = Upscaler(net, device='cpu')
    array = picture(12, 10)
    result = upscale(array)
    assert result.shape == (24, 20, 3)
    for channel in range(3):
        assert (result[..., channel] == upscale(np.ascontiguousarray(array[..., channel]))).all()


def test_tiles_are_the_whole_picture(tiny, fitted):
    array = picture(150, 170)
    for given in ({}, {'calibration': fitted}):
        whole = Upscaler(tiny, device='cpu', dtype='fp32', tile=0, **given)(array)
        tiled = Upscaler(tiny, device='cpu', dtype='fp32', tile=64, **given)(array)
        assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert Upscaler(tiny, device='cpu').form.tile >= 256


def test_another_scale_is_resized(tiny):
    upscale = Upscaler(tiny, device='cpu', scale=1.5)
    assert upscale(picture(10, 20)).shape == (15, 30, 3)
    assert Upscaler(tiny, device='cpu', scale=0.01)(picture(10, 20)).shape == (1, 1, 3)


def test_names_find_weights_and_their_calibration():
    upscale = Upscaler('RFDN_x4', device='cpu')
    assert upscale.form.kind == 'calibrated' and upscale.network.scale == 4
    upscale = Upscaler('CARN_M_x3', device='cpu')
    assert upscale.form.kind == 'calibrated' and upscale.network.scale == 3
    assert [find_network('CARN_M_x234', scale).scale for scale in (2, 3, 8)] == [2, 3, 4]


def test_a_copy_of_shipped_weights_has_their_calibration_and_other_weights_have_none(repository, tmp_path):
    content = torch.load(repository / 'pretrained' / 'RFDN_x4.pth', weights_only=True)
    torch.save(content, tmp_path / 'other.pth')
    copy = tmp_path / 'mine.pth'
    copy.write_bytes((repository / 'pretrained' / 'RFDN_x4.pth').read_bytes())
    assert [path.name for path in find_network(copy).calibrations] == ['RFDN_x4.amsr']
    other = find_network(tmp_path / 'other.pth')
    assert other.calibrations == () and other.scale == 4
    assert weights_key(other.net) == weights_key(find_network(copy).net)


def test_half_precision_and_safetensors(tiny, tmp_path):
    from safetensors.torch import save_file
    state = {key: value.half().contiguous() for key, value in tiny.state_dict().items()}
    save_file(state, tmp_path / 'half.safetensors')
    torch.save({'params_ema': state}, tmp_path / 'half.ckpt')
    array = picture(16, 16)
    wanted = dense_picture(tiny, array)
    for name in ('half.safetensors', 'half.ckpt'):
        result = Upscaler(tmp_path / name, device='cpu', dtype='fp32')(array.astype(np.float32) / 255)
        assert np.abs(result - wanted).max() < 0.01


def test_what_spandrel_knows_and_its_descriptors(tmp_path):
    spandrel = pytest.importorskip('spandrel')
    from spandrel.architectures.PLKSR import PLKSR
    torch.manual_seed(0)
    torch.save(PLKSR(dim=8, n_blocks=1, kernel_size=5, upscaling_factor=2).state_dict(), tmp_path / 'plksr.pth')
    array = picture(13, 9)
    descriptor = spandrel.ModelLoader().load_from_file(tmp_path / 'plksr.pth')
    wanted = dense_picture(descriptor.model, array)
    for source in (tmp_path / 'plksr.pth', descriptor):
        upscale = Upscaler(source, device='cpu', dtype='fp32')
        assert upscale.scale == 2
        assert np.abs(upscale(array.astype(np.float32) / 255) - wanted).max() < 1e-4


def test_a_descriptor_is_calibrated_and_accelerated(tmp_path):
    spandrel = pytest.importorskip('spandrel')
    torch.manual_seed(0)
    torch.save(SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2).state_dict(), tmp_path / 'compact.pth')
    descriptor = spandrel.ModelLoader().load_from_file(tmp_path / 'compact.pth')
    images = [torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))]
    calibration = calibrate(descriptor, images)
    assert 'by calibration' in str(accelerate_(descriptor, AMSRConfig(calibration=calibration)))
    assert Upscaler(descriptor, device='cpu').form.kind == 'calibrated'


def wrong(**given):
    return {'source': load_pretrained('RFDN_x4'), 'device': 'cpu', **given}


@pytest.mark.parametrize(('given', 'line'), [
    ({'source': 'RFDN_x5'}, "No weights 'RFDN_x5'.*Did you mean RFDN_x4"),
    ({'device': 'cuda:99'}, "device 'cuda:99' is not there"),
    ({'device': 'tpu'}, "device 'tpu'"),
    ({'dtype': 'fp8'}, "dtype 'fp8' is unknown: fp32, fp16, bf16"),
    ({'keep': 0.4}, 'keep is 0.4, but RFDN has no calibration'),
    ({'source': 'RFDN_x4', 'keep': 1.4}, 'keep is 1.4'),
    ({'source': 'RFDN_x4', 'keep': 0.4, 'dense': True}, 'leave keep and calibration out'),
    ({'calibration': 'pretrained/CARN_M_x4.amsr'}, 'of another network, a CARN_M'),
    ({'calibration': 'absent.amsr'}, 'Calibration not found'),
    ({'tile': 3}, 'tile is 3'),
    ({'tile_pad': -1}, 'tile_pad is -1'),
    ({'scale': 0}, 'scale is 0'),
    ({'source': torch.nn.Linear(3, 3)}, 'takes no picture'),
    ({'source': torch.nn.AvgPool2d(2)}, 'no larger picture'),
])
def test_mistakes_are_one_line(given, line, repository, monkeypatch):
    monkeypatch.chdir(repository)
    with pytest.raises(UserError, match=line) as raised:
        Upscaler(**wrong(**given))
    assert len(raised.value.lines) == 1


@pytest.mark.parametrize('array', [
    np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.int32), np.zeros(3, np.uint8),
    np.full((4, 4, 3), np.nan, np.float32)])
def test_what_is_no_picture(tiny, array):
    with pytest.raises(UserError):
        Upscaler(tiny, device='cpu')(array)


@needs_kernels
def test_what_the_kernels_do_not_run_is_said():
    ditn = pytest.importorskip('spandrel.architectures.DITN')
    upscale = Upscaler(Network(ditn.DITN().eval(), 'ditn', 4, 3, least=8), device='cpu')
    assert upscale.form.kind in ('dense', 'plain')  # as OpenVINO is there or not
    assert 'native kernels would do' in str(upscale.form) and 'torch 165 operators' in str(upscale.form)


@needs_kernels
def test_kernels_that_take_turns_with_torch():
    cugan = pytest.importorskip('spandrel.architectures.RealCUGAN')
    net, x = cugan.UpCunet2x().eval(), torch.rand(1, 3, 41, 50)
    with torch.no_grad():
        plain = net(x)
    upscale = Upscaler(Network(net, 'cugan', 2, 3, least=40), device='cpu', dtype='fp32')
    assert 'by native kernels' in str(upscale.form)
    torch.testing.assert_close(upscale(x), plain.clamp(0, 1), rtol=0, atol=1e-4)
