"""A tiny network with a calibration, and pictures."""
import numpy as np
import pytest
import torch

from basicsr_amsr.amsr.calibration.choose import calibrate
from tests.backbones.tiny import network


def picture(height, width, channels=3, depth=8, seed=0):
    """A smooth picture with a detailed middle, uint8 or uint16."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width] / max(height, width, 2)
    planes = np.stack([(rows + cols * (i + 1)) / (i + 2) for i in range(channels)], -1)
    planes[height // 3:2 * height // 3, width // 3:2 * width // 3] = rng.random(
        (2 * height // 3 - height // 3, 2 * width // 3 - width // 3, channels))
    most = 2**depth - 1
    array = (planes.clip(0, 1) * most).round().astype(np.uint8 if depth == 8 else np.uint16)
    return array[..., 0] if channels == 1 else array


@pytest.fixture(scope='session')
def tiny():
    """A plain network, x2."""
    return network('EDSR', 2)


@pytest.fixture(scope='session')
def fitted(tiny):
    """Its calibration."""
    images = [torch.from_numpy(picture(40, 36, seed=seed) / 255).float().permute(2, 0, 1)[None] for seed in range(3)]
    return calibrate(tiny, images)
