"""bf16 and fp16 at inference: masks of the float32 image, sparse = masked, and pictures near those of float32."""
import logging

import cv2
import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.cli.option_network import read_options
from basicsr_amsr.data.bicubic import imresize
from basicsr_amsr.execution import precision
from basicsr_amsr.execution.graph.run_by_torch import call
from basicsr_amsr.execution.precision import DTYPES, check_arithmetic, compute_dtype, computing_in
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.execution.torch_sparse.run_sparse import run_sparse
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling import subject
from basicsr_amsr.psnr import plain_psnr
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image, network
from tests.execution.test_torch_sparse import net_of, random_patches, random_prediction
from tests.mga.toy import registered

CPU = torch.device('cpu')
MASKS = [HighFrequencyMask(patch_size=4), HighFrequencyMask(keep=0.3, patch_size=4, smooth=3),
         HighFrequencyMask(keep=0.5, sigma=0.6, noise_discount=1.0, smooth=3, patch_size=4, power=2.0, relative=0.25),
         HighFrequencyMask(level=0.05, patch_size=8, relative=0.25, power=2.0),
         HighFrequencyMask(dilation=2, threshold=0.3)]


def low(dtype='bf16'):
    return computing_in(DTYPES[dtype], CPU)


@pytest.mark.parametrize('dtype', ['bf16', 'fp16'])
@pytest.mark.parametrize('selection', MASKS)
def test_masks_are_those_of_float32(selection, dtype):
    x = image(2, 3, 33, 30)
    windows = image(2, 3, 32, 32)
    expected, of_windows = selection(x), selection.windows(windows, 8, (0, 4))
    with low(dtype):
        assert torch.equal(selection(x), expected)
        assert all(map(torch.equal, selection.windows(windows, 8, (0, 4)), of_windows))


@pytest.mark.parametrize(('size', 'density'), [(1, 0.5), (4, 0), (4, 0.5), (4, 1)])
@pytest.mark.parametrize('name', ['CARN_M', 'EDSR', 'RFDN', 'RCAN', 'PAN', 'FSRCNN'])
@torch.no_grad()
def test_calibrated_networks(name, size, density):
    net, _ = net_of(name)
    program, x = read_network(net, 3, (2, 17, 12)), image(2, 3, 17, 12)
    patches, prediction = random_patches(x, size, density), random_prediction(program)
    exact = run_masked(program, net, x, patches, size, prediction)
    with low():
        sparse, masked = (run(program, net, x, patches, size, prediction) for run in (run_sparse, run_masked))
    most = exact.abs().max()
    assert (sparse.float() - masked.float()).abs().max() < 0.03 * most
    assert 0 < (sparse.float() - exact).abs().max() < 0.05 * most


@torch.no_grad()
def test_the_anchor_is_computed_in_float32(monkeypatch):
    net, _ = net_of('RFDN')
    program, x, seen = read_network(net), image(1, 3, 19, 18), []
    anchor = program.graph.ops[program.anchor - 1]

    def recorded(op, *given):
        result = call(op, *given)
        if op is anchor:
            seen.append(result)
        return result

    monkeypatch.setattr('basicsr_amsr.execution.torch_sparse.masked.call', recorded)
    for dtype in ('fp32', 'bf16'):
        with low(dtype):
            run_sparse(program, net, x, random_patches(x, 4, 0.5), 4, random_prediction(program))
    assert seen[1].dtype == torch.float32 and torch.equal(*seen)


@pytest.mark.parametrize('name', ['CARN', 'RFDN', 'RCAN', 'SwinIR'])
@torch.no_grad()
def test_networks_without_calibration(name):
    net, x = network(name, 4), image(2, 3, 19, 22)
    accelerate_(net, AMSRConfig(selection=HighFrequencyMask(keep=0.5, patch_size=4), mode='sparse'))
    exact, keep = net(x), float(net.last_keep)
    with low():
        sparse = net(x)
    assert float(net.last_keep) == keep
    assert 0 < (sparse.float() - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize('k', [0, 0.3, 1.0])
@pytest.mark.parametrize('variant', 'BDAM')
@torch.no_grad()
def test_mask_guided_networks(variant, k):
    torch.manual_seed(0)
    net, x = MGA(registered(), variant=variant, k=k).eval(), image(2, 3, 11, 14)
    exact, keep = net(x), net.last_keep
    with low():
        result = net(x)
        mask = net.mask(net.extract(x))
    assert mask.dtype == torch.float32 and net.last_keep == keep
    if variant != 'M' or k in (0, 1.0):  # else which patches are the worst may change with the feature's last digit
        assert 0 < (result.float() - exact).abs().max() < 0.03


def test_names_of_a_format():
    x = torch.ones(1)
    assert compute_dtype(x) == torch.float32 and compute_dtype(x.double()) == torch.float64
    with low('fp16'):
        assert compute_dtype(x) == torch.float16 and compute_dtype(x.to('meta')) == torch.float32
    with low('fp32'), computing_in(torch.bfloat16, torch.device('meta')):
        assert not torch.is_autocast_enabled('cpu')


def test_what_a_device_is_good_at(monkeypatch):
    monkeypatch.setattr(precision, 'cpu_has_bf16', lambda: False)
    assert check_arithmetic('bf16', CPU, 'val: dtype') == (
        'val: dtype: this CPU has no instructions for bf16: it is slower than fp32 here.')
    assert check_arithmetic('fp32', CPU, 'val: dtype') is None
    monkeypatch.setattr(precision, 'cpu_has_bf16', lambda: True)
    assert check_arithmetic('bf16', CPU, 'val: dtype') is None
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Old One')
    with pytest.raises(UserError, match='--dtype: Old One has no bf16; use fp16 or fp32'):
        check_arithmetic('bf16', torch.device('cuda'), '--dtype')


def keep_first_mask(net):
    """Has an MGA network select by the first mask that it makes: by one of bf16 other patches may be the worst."""
    masks = []
    if isinstance(net, MGA):
        net.mask._forward_hooks.clear()
        net.mask.register_forward_hook(lambda _module, _given, mask: masks.append(mask) or masks[0])
    return masks


@pytest.mark.parametrize(('has', 'answer'), [(['avx512_f'], False), (['avx512_f', 'avx512_bf16'], True),
                                             (['amx_bf16'], True), (['neon', 'bf16'], True)])
def test_instructions_of_a_cpu(monkeypatch, has, answer):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict.fromkeys(has, True), raising=False)
    assert precision.cpu_has_bf16() is answer


@pytest.mark.parametrize('file, force', [
    ('carn_m_x4', []), ('rfdn_x4', []), ('amsr_carn_m_x4', []), ('amsr_rfdn_x4', []), ('mga_fsrcnn_x4', []),
    ('mga_rfdn_x4', []), ('amsr_carn_m_x4',
                          ['network_g:calibration=~', 'network_g:selection={keep: 0.5, patch_size: 4}'])])
@torch.no_grad()
def test_pictures_of_set5(shared, repository, file, force):
    """50 dB to the picture in float32 of the same network, each image with the same mask, and as near to the truth."""
    logging.disable(logging.INFO)
    opt = read_options(str(repository / f'options/test/{file}.yml'), force)
    net = subject.build(opt).eval()
    subject.load_weights(net, opt)
    logging.disable(logging.NOTSET)
    found, lost = [], []
    for name in ('bird', 'butterfly'):
        high = cv2.imread(str(shared / f'data/benchmark/Set5/HR/{name}.png'))[..., ::-1]
        high = high[:high.shape[0] // 4 * 4, :high.shape[1] // 4 * 4]
        small = imresize(high / 255, (high.shape[0] // 4, high.shape[1] // 4)).round(6)
        x = torch.from_numpy(small).float().permute(2, 0, 1)[None].clamp(0, 1)
        masks = keep_first_mask(net)
        exact, keep = net(x), float(getattr(net, 'last_keep', 1.0))
        with low():
            picture = net(x).float()
        if isinstance(net, MGA):
            one, other = masks
            assert torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1] > 0.99
        assert float(getattr(net, 'last_keep', 1.0)) == keep
        truth = torch.from_numpy(high.copy()).permute(2, 0, 1)[None] / 255
        exact, picture, truth = (each.clamp(0, 1).numpy() for each in (exact, picture, truth))
        found.append(plain_psnr(picture, exact, 1))
        lost.append(plain_psnr(exact, truth, 1) - plain_psnr(picture, truth, 1))
    assert min(found) > 50 and max(lost) < 0.05, (found, lost)
