"""Public weights give their published figures, on LR images of our own making."""
import csv

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import img2tensor, tensor2img

from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.backbones.checkpoint import load_into
from basicsr_amsr.data.bicubic import downscale

# PSNR in dB and SSIM of Set5 and Set14: Y channel, border = scale, MATLAB's bicubic LR
FIGURES = [
    ('RFDN', 'RFDN_x4', 4, (32.145, 0.8951), (28.637, 0.7827)),
    ('CARN_M', 'CARN_M_x234', 2, (37.646, 0.9598), (33.284, 0.9152)),
    ('CARN_M', 'CARN_M_x234', 3, (34.055, 0.9250), (30.094, 0.8380)),
    ('CARN_M', 'CARN_M_x234', 4, (31.872, 0.8915), (28.404, 0.7774)),
    ('PAN', 'PAN_x2', 2, (37.968, 0.9608), (33.573, 0.9181)),
    ('PAN', 'PAN_x3', 3, (34.384, 0.9273), (30.345, 0.8425)),
    ('PAN', 'PAN_x4', 4, (32.115, 0.8953), (28.597, 0.7823)),
]
IDS = [f'{name}-x{scale}' for name, _, scale, *_ in FIGURES]


def network(shared, name: str, file: str, **options):
    net = get_backbone(name).create(**options)
    return load_into(net, shared / 'weights' / f'{file}.pth').eval().to(memory_format=torch.channels_last)


def measure(net, shared, images: str, scale: int) -> tuple[float, float]:
    """Mean PSNR and SSIM over a benchmark set."""
    results = []
    for path in sorted((shared / 'data' / 'benchmark' / images / 'HR').glob('*.png')):
        truth = cv2.imread(str(path))
        lr = img2tensor(downscale(truth, scale).astype(np.float32) / 255)[None]
        with torch.inference_mode():
            image = tensor2img(net(lr.contiguous(memory_format=torch.channels_last)))
        options = {'crop_border': scale, 'test_y_channel': True}
        results.append((calculate_psnr(image, truth, **options), calculate_ssim(image, truth, **options)))
    return tuple(np.mean(results, axis=0))


@pytest.mark.parametrize(('name', 'file', 'scale', 'set5', 'set14'), FIGURES, ids=IDS)
def test_set5(shared, name, file, scale, set5, set14):
    psnr, ssim = measure(network(shared, name, file, upscale=scale), shared, 'Set5', scale)
    assert psnr == pytest.approx(set5[0], abs=0.01)
    assert ssim == pytest.approx(set5[1], abs=0.0002)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'file', 'scale', 'set5', 'set14'), FIGURES, ids=IDS)
def test_set14(shared, name, file, scale, set5, set14):
    psnr, ssim = measure(network(shared, name, file, upscale=scale), shared, 'Set14', scale)
    assert psnr == pytest.approx(set14[0], abs=0.01)
    assert ssim == pytest.approx(set14[1], abs=0.0002)


@pytest.mark.slow
@pytest.mark.parametrize(('file', 'column'), [('DnCNN_gray_regular', 'dncnn_regular_psnr'),
                                              ('DnCNN_gray_SFM', 'dncnn_sfm_psnr')])
def test_bsd68_at_noise_25(shared, file, column):
    net = network(shared, 'DnCNN', file)
    generator = torch.Generator().manual_seed(0)
    results = []
    for path in sorted((shared / 'data' / 'benchmark' / 'BSD68_gray').rglob('*.png')):
        truth = torch.from_numpy(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)).float()[None, None] / 255
        noisy = (truth + torch.randn(truth.shape, generator=generator) * 25 / 255).clamp(0, 1)
        with torch.inference_mode():
            error = (net(noisy).clamp(0, 1) - truth).square().mean()
        results.append(-10 * torch.log10(error).item())
    with open(shared / 'paper' / 'sfm_dncnn_bsd68.csv', encoding='utf-8') as table:
        expected = next(float(row[column]) for row in csv.DictReader(table) if row['noise_sigma'] == '25')
    assert len(results) == 68
    # the noise is drawn afresh: over 68 images the mean's spread is a few thousandths of a dB
    assert np.mean(results) == pytest.approx(expected, abs=0.02)
