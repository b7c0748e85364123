"""The backend of an accelerated network: an option, by Triton's interpreter the same image."""
import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image, network

HALF = HighFrequencyMask(keep=0.5, patch_size=4, smooth=3)


def output(net, x, **config):
    accelerate_(net, AMSRConfig(**{'selection': HALF, **config}))
    with torch.no_grad():
        return net(x)


@pytest.mark.parametrize('name', ['EDSR', 'RCAN'])
def test_triton_gives_the_image_of_torch_operators(interpreter, name):
    net, x = network(name, 2), image(2, 3, 13, 10)
    expected = output(net, x, backend='torch')
    with MacCounter() as counter:
        result = output(net, x, backend='triton')
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert counter.by_op['basicsr_amsr::convolve_rows'].calls == {'EDSR': 4, 'RCAN': 4}[name]


def test_a_calibrated_network(interpreter):
    net, x = network('EDSR', 2), image(2, 3, 13, 10)
    calibration = calibrate(net, [image(1, 3, 40, 36)], HALF, one_level=False)
    results = [output(net, x, calibration=calibration, backend=backend) for backend in ('torch', 'triton')]
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_without_a_gpu_auto_needs_none_and_triton_is_refused_in_one_line(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    net, x = network('EDSR', 2), image(1, 3, 13, 10)
    torch.testing.assert_close(output(net, x), output(net, x, backend='torch'), rtol=1e-5, atol=1e-5)
    pytest.importorskip('triton')
    with pytest.raises(UserError, match=r'^backend: triton needs an NVIDIA GPU[^\n]*take auto or torch\.$'):
        output(net, x, backend='triton')
