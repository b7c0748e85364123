"""Calibrated networks run by the native kernels at inference on a CPU, unless somebody asks for torch or looks on."""
import copy
import pickle

import pytest
import torch

from basicsr_amsr.amsr.accelerate import accelerate_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.skipping.calibrated import CalibratedForm
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image, network
from tests.execution.calls import python_calls
from tests.kernels import needs_kernels

pytestmark = needs_kernels
HALF = HighFrequencyMask(keep=0.5, patch_size=4, smooth=3)


@pytest.fixture
def calibrated(monkeypatch):
    """A plain network, its calibration, and a list of what the native form was asked for."""
    net, calls = network('CARN_M', 2), []
    calibration = calibrate(net, [image(1, 3, 40, 36).flip(i) ** (i + 1) for i in range(3)], HALF, one_level=False)
    run = CalibratedForm.run
    monkeypatch.setattr(CalibratedForm, 'run', lambda *args: calls.append(args) or run(*args))
    return net, calibration, calls


@torch.no_grad()
def test_native_is_the_default(calibrated):
    net, calibration, calls = calibrated
    x = image(1, 3, 22, 30)
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse', backend='torch'))
    wanted = net(x)
    assert not calls
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    assert torch.allclose(net(x), wanted, atol=1e-5) and len(calls) == 1
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
    with torch.autocast('cpu', torch.bfloat16):
        assert 0 < float((net(x).float() - wanted).abs().max()) < 0.1
    assert calls[-1][-1] == 'bfloat16'


@torch.no_grad()
def test_weights_are_followed(calibrated):
    net, calibration, calls = calibrated
    x = image(1, 3, 22, 30)
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    before = net(x)
    for parameter in net.parameters():
        parameter.data.mul_(1.1)
    after = net(x)
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse', backend='torch'))
    assert not torch.allclose(after, before, atol=1e-4) and torch.allclose(net(x), after, atol=1e-5) and len(calls) == 2


@torch.no_grad()
def test_a_warm_pass_is_tens_of_calls(calibrated):
    net, calibration, _ = calibrated
    x = image(1, 3, 22, 30)
    for mode, most in (('sparse', 120), ('auto', 175)):
        accelerate_(net, AMSRConfig(calibration=calibration, mode=mode))
        net(x)
        assert python_calls(lambda: net(x)) < most


@torch.no_grad()
def test_hooks_and_counters_see_torch(calibrated):
    net, calibration, calls = calibrated
    x, seen = image(1, 3, 22, 30), []
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    with MacCounter() as counter:
        net(x)
    handle = next(module for module in net.modules() if isinstance(module, torch.nn.PReLU | torch.nn.ReLU)
                  ).register_forward_hook(lambda *args: seen.append(args))
    net(x)
    assert counter.macs > 0 and not calls
    handle.remove()
    net(x)
    assert len(calls) == 1
