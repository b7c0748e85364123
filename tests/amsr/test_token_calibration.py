"""Window transformers through the public interface: calibrated, saved, accelerated, trained, dense."""
import copy

import pytest
import torch

import basicsr_amsr as sr
from basicsr_amsr.amsr.accelerate import restore_
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.trained import train_predictions_
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.native.library import library
from tests.execution.tokens.networks import NETWORKS
from tests.kernels import needs_kernels


def images(count: int, height: int = 52, width: int = 60) -> list[torch.Tensor]:
    """Smooth on the left, detailed on the right."""
    generator = torch.Generator().manual_seed(5)
    ramp = torch.linspace(0, 1, width)
    return [0.5 + ramp * (torch.rand(1, 3, height, width, generator=generator) - 0.5)
            + 0.1 * torch.rand(1, 3, 1, 1, generator=generator) for _ in range(count)]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    net = NETWORKS['DAT']()
    calibration = sr.calibrate(net, images(24))
    file = tmp_path_factory.mktemp('calibration') / 'dat.amsr'
    calibration.save(file)
    return net, Calibration.load(file)


@torch.no_grad()
def test_beats_predictions_of_nothing(made):
    net, calibration = made
    x = images(26)[-1][..., :45, :53]
    dense = net(x)
    error = {}
    for name, prediction in (('fitted', calibration.prediction), ('none', zeros(calibration.prediction))):
        found = copy.copy(calibration)
        object.__setattr__(found, 'prediction', prediction)
        sr.accelerate_(net, AMSRConfig(calibration=found, mode='sparse'))
        error[name] = float((net(x) - dense).square().mean())
        assert 0.1 < float(net.last_keep) < 0.9
        restore_(net)
    assert error['fitted'] < 0.2 * error['none']


def zeros(prediction):
    contexts = {number: type(affine)(affine.weight * 0, affine.bias * 0, affine.scale, affine.narrow)
                for number, affine in prediction.contexts.items()}
    feature = prediction.tail.feature
    tail = type(prediction.tail)(prediction.tail.image * 0, type(feature)(feature.weight * 0, feature.bias * 0,
                                                                          feature.scale))
    return type(prediction)(contexts, tail)


@needs_kernels
@pytest.mark.parametrize('mode', ['dense', 'sparse'])
@torch.no_grad()
def test_bf16_under_autocast(made, mode):
    net, calibration = made
    x = images(27)[-1][..., :45, :53]
    exact = net(x)
    with torch.autocast('cpu', torch.bfloat16):
        autocast = net(x)
    sr.accelerate_(net, AMSRConfig(
        mode=mode, backend='native' if mode == 'dense' else 'auto', calibration=calibration))
    wanted = net(x)
    with torch.autocast('cpu', torch.bfloat16):
        found = net(x)
    restore_(net)
    assert found.dtype == torch.float32
    error = float((found - wanted).square().mean())
    assert error <= float((autocast - exact).square().mean())
    assert (error > 0) == library().has_bf16


def test_masked_form_and_training(made):
    net, calibration = made
    x = images(1)[0]
    sr.accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    with torch.no_grad():
        sparse = net(x)
    sr.accelerate_(net, AMSRConfig(calibration=calibration, mode='dense_masked'))
    assert float((net(x) - sparse).abs().max()) <= 1e-5 * float(sparse.abs().max())
    predictions = train_predictions_(net)
    net(x).mean().backward()
    used = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in predictions.parameters()]
    assert sum(used) > 0.9 * len(used)
    net.zero_grad()
    restore_(net)


@torch.no_grad()
def test_copies_and_tiles(made):
    net, calibration = made
    x = images(1, 64, 64)[0]
    sr.accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    whole = net(x)
    assert torch.equal(copy.deepcopy(net)(x), whole)
    sr.accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse', tile=32, tile_pad=16))
    assert net(x).shape == whole.shape
    restore_(net)


@needs_kernels
@torch.no_grad()
def test_dense_form_is_the_network(made):
    net, calibration = made
    x = images(2, 37, 50)[1]
    wanted = net(x)
    for config in (AMSRConfig(mode='dense'), AMSRConfig(calibration=calibration, mode='dense')):
        sr.accelerate_(net, config)
        assert torch.allclose(net(x), wanted, atol=1e-4)
        restore_(net)


def test_what_is_refused(made):
    net, calibration = made
    other = NETWORKS['DAT, two groups']()
    with pytest.raises(UserError, match='of another network'):
        sr.accelerate_(other, AMSRConfig(calibration=calibration))
    with pytest.raises(UserError, match='too few'):
        sr.calibrate(net, images(1))
    sr.accelerate_(net, AMSRConfig(calibration=calibration, budget=0.5, mode='sparse'))
    with pytest.raises(UserError, match='budget'), torch.no_grad():
        net(images(1)[0])
    restore_(net)


@torch.no_grad()
def test_networks_of_half_precision(made):
    net, calibration = made
    x, config = images(1)[0], AMSRConfig(calibration=calibration, mode='sparse')
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        other = copy.deepcopy(net).to(dtype)
        sr.accelerate_(other, config)
        pictures.append(other(x.to(dtype)))
    assert pictures[1].dtype == torch.bfloat16
    largest, apart = pictures[0].abs().max(), (pictures[1].float() - pictures[0]).abs().mean()
    assert float(apart / largest) < torch.finfo(torch.bfloat16).eps
    with pytest.raises(UserError, match='which float16 cannot hold'):
        other.half()(x.half())
    with pytest.raises(UserError, match='which float16 cannot hold'):
        sr.accelerate_(copy.deepcopy(net).half(), config)
