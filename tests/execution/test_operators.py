"""A warm pass by torch: how many operators it takes for each convolution, views left out."""
import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from basicsr_amsr import Calibration, load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image

PRODUCTS = {'convolution', 'mm', 'addmm', 'addmm_'}
HALF = HighFrequencyMask(keep=0.5, patch_size=4, smooth=3)


class Operators(TorchDispatchMode):
    """Names of what is dispatched."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if not operator.is_view:
            self.names.append(operator._schema.name.split('::')[-1])
        return operator(*args, **(kwargs or {}))


def operators_for_each(net, config):
    """Operators of a warm pass over its convolutions and products."""
    net = net.eval().to(memory_format=torch.channels_last)
    accelerate_(net, dataclasses.replace(config, mode='sparse', backend='torch', selection=HALF))
    x = image(1, 3, 48, 48).to(memory_format=torch.channels_last)
    with torch.no_grad():
        net(x)
        with Operators() as operators:
            net(x)
    assert float(net.last_keep) == 0.5
    return len(operators.names) / sum(each in PRODUCTS for each in operators.names)


@pytest.mark.parametrize(('name', 'options'), [
    ('EDSR', {'num_feat': 64, 'num_block': 16}), ('RCAN', {'num_group': 3}), ('CARN_M', {}), ('SRResNet', {}),
    ('PAN', {}), ('RFDN', {})])
def test_units(name, options):
    assert operators_for_each(build({'type': name, 'upscale': 4, **options}), AMSRConfig()) <= 5


@pytest.mark.parametrize('name', ['realesr-animevideov3', 'realesr-general-x4v3', 'RFDN_x4'])
def test_calibrated_networks(name):
    calibration = Calibration.load(resolve(f'pretrained/{name}.amsr'))
    assert operators_for_each(load_pretrained(name), AMSRConfig(calibration=calibration)) <= 5
