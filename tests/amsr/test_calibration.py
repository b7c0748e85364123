"""Calibration: the fit, its file, budgets, and calibrated networks."""
import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.calibration.choose import EQUAL, KEEPS, Meter, Trial, calibrate, search
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.fit import Normal, fit
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image, network

HALF = HighFrequencyMask(keep=0.5, patch_size=4, smooth=3)


def calibrated(name='EDSR', selection=HALF, **config):
    net = network(name, 2)
    calibration = calibrate(net, [image(1, 3, 40, 36).flip(i) ** (i + 1) for i in range(3)], selection, one_level=False)
    return net, calibration


class Linear(nn.Module):
    """A network that predictions from its first feature can equal: nothing behind it but 1×1 and shuffle."""

    def __init__(self):
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 1)
        self.two, self.up = nn.Conv2d(8, 12, 1), nn.PixelShuffle(2)

    def forward(self, x):
        return self.up(self.two(self.one(self.stem(x))))


def test_what_is_linear_in_the_anchor_is_found():
    torch.manual_seed(0)
    net = Linear().eval()
    calibration = calibrate(net, [image(1, 3, 40, 40), image(1, 3, 24, 31)], HALF, one_level=False)
    x = image(2, 3, 19, 22).flip(3)
    with torch.no_grad():
        expected = net(x)
        accelerate_(net, AMSRConfig(calibration=calibration))
        torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-3)
    assert float(net.last_keep) == pytest.approx(0.5, abs=0.05)


def test_the_fit_is_least_squares_over_the_skipped_pixels():
    net = network('EDSR', 2)
    x = image(1, 3, 40, 36)
    prediction = fit(read_network(net, 3), net, [x], HALF.patches, HALF.patch_size, excess=0.0)
    skipped = ~HALF(x)[0, 0]
    anchor, read = [], []
    handles = [net.conv_first.register_forward_hook(lambda m, a, out: anchor.append(out[0][:, skipped].T)),
               net.body[1].conv2.register_forward_pre_hook(lambda m, args: read.append(args[0][0][:, skipped].T))]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    features = torch.cat([anchor[0], anchor[0].clamp(min=0), torch.ones(len(anchor[0]), 1)], 1)
    expected = torch.linalg.lstsq(features.double(), read[0].double()).solution.T
    errors = []
    for affine in prediction.contexts.values():
        assert affine.narrow is None
        if affine.scale == 1 and len(affine.weight) == len(expected):
            found = torch.cat([affine.weight, affine.bias[:, None]], 1).double()
            errors.append(float(((features @ (found - expected).T.float()) ** 2).mean() / (read[0] ** 2).mean()))
    assert min(errors) < 1e-4  # the ridge's share


@pytest.mark.parametrize('excess', [0.02, 0.5])
def test_a_low_rank_adds_no_more_than_it_may_to_the_error(excess):
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(500, 30, generator=generator, dtype=torch.float64)
    strength = torch.logspace(0, -6, 24, dtype=torch.float64)
    maps = torch.randn(30, 24, generator=generator, dtype=torch.float64) @ torch.diag(strength)
    values = (rows + 2) @ maps @ torch.randn(24, 24, generator=generator, dtype=torch.float64)
    values = values + 0.3 * torch.randn(500, 24, generator=generator, dtype=torch.float64) + 5
    with_one = torch.cat([rows, torch.ones(500, 1, dtype=torch.float64)], 1)
    normal = Normal()
    normal.features(with_one)
    normal.values(0, with_one, values)
    least = float((torch.linalg.lstsq(with_one, values).solution.T @ with_one.T - values.T).square().sum())
    affine = normal.narrowed(0, 0.0, 1, excess)
    rank = len(affine.narrow)
    found = float((affine.linear(rows.float()) - values.float()).square().sum())
    assert least * 0.999 < found <= least * (1 + excess) * 1.001
    assert affine.macs == rank * (24 + 30) < 24 * 30
    # Reduced-rank regression: no map of a lower rank keeps the bound.
    centred = rows - rows.mean(0)
    fitted = centred @ torch.linalg.lstsq(centred, values - values.mean(0)).solution
    lower = torch.linalg.svdvals(fitted)[rank - 1:].square().sum()
    assert least + float(lower) > least * (1 + excess)


@pytest.mark.parametrize('name', ['EDSR', 'CARN_M', 'RCAN', 'RFDN', 'FSRCNN'])
def test_calibrated_networks(name, tmp_path):
    net, calibration = calibrated(name)
    calibration.save(tmp_path / 'it.amsr')
    loaded = Calibration.load(tmp_path / 'it.amsr')
    assert loaded.fit == calibration.fit and loaded.graph == calibration.graph
    x, keys = image(3, 3, 21, 18), list(net.state_dict())
    with torch.no_grad():
        plain = net(x)
        report = accelerate_(net, AMSRConfig(calibration=loaded))
        assert net.amsr.selection == HALF  # what it was fitted with
        sparse = net(x)
        assert report.by == 'calibration' and report.converted and list(net.state_dict()) == keys
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(twin(x), sparse)
        net.set_variant('D')
        assert torch.equal(net(x), plain)
        net.set_variant('M')
        accelerate_(net, AMSRConfig(calibration=loaded, selection=dataclasses.replace(HALF, keep=1.0)))
        torch.testing.assert_close(net(x), plain, rtol=1e-5, atol=1e-5)
    accelerate_(net, AMSRConfig(calibration=loaded))
    masked = net(x)
    torch.testing.assert_close(masked.detach(), sparse, rtol=1e-5, atol=1e-5)
    masked.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    with torch.no_grad():
        assert torch.equal(restore_(net)(x), plain)
    assert 'calibrated' not in net.__dict__


def test_an_empty_mask_gives_the_light_tails_image():
    net, calibration = calibrated()
    x = torch.full((1, 3, 12, 12), 0.5)
    with torch.no_grad():
        anchor = net.conv_first((x - net.mean.type_as(x)) * net.img_range)
        expected = calibration.prediction.tail.map(x, anchor)
        accelerate_(net, AMSRConfig(calibration=calibration, selection=HighFrequencyMask(patch_size=4)))
        torch.testing.assert_close(net(x), expected)
    assert net.last_keep == 0


# Not FSRCNN: for the profiler its transposed convolution runs as itself, not as phases.
@pytest.mark.parametrize('name', ['CARN', 'CARN_M', 'EDSR', 'PAN', 'RCAN', 'RFDN', 'SRResNet'])
def test_both_counters_agree(name):
    net, calibration = calibrated(name)
    x = image(1, 3, 37, 45)
    for _ in range(2):
        with torch.no_grad(), MacCounter() as counter:
            net(x)
        assert counter.macs == count(net, x).macs
        accelerate_(net, AMSRConfig(calibration=calibration))


@pytest.mark.parametrize('name', ['EDSR', 'RFDN', 'PAN', 'CARN_M'])
@pytest.mark.parametrize('budget', [0.4, 0.7])
def test_budgets_are_kept_and_used(name, budget):
    net, calibration = calibrated(name)
    x = image(1, 3, 37, 45)
    dense = count(net, x).macs
    accelerate_(net, AMSRConfig(calibration=calibration, budget=budget))
    macs = count(net, x).macs
    patch_size = 16 * dense / (37 * 45)  # of MACs, about
    assert budget * dense - 2.5 * patch_size < macs <= budget * dense
    assert 0 < float(net.last_keep) < 1


@pytest.mark.parametrize('training', [False, True])
def test_a_compiled_network_gives_the_same(training):
    net, calibration = calibrated('CARN_M')
    accelerate_(net, AMSRConfig(calibration=calibration))
    net.train(training)
    compiled = torch.compile(net, backend='eager')
    with torch.set_grad_enabled(training):
        for x in (image(2, 3, 20, 24), image(1, 3, 33, 18)):
            torch.testing.assert_close(compiled(x), net(x))


def test_one_level_for_all_images(tmp_path):
    net = network('EDSR', 2)
    images = [image(1, 3, 40, 36) * 0.2, image(1, 3, 40, 36), image(1, 3, 40, 36).flip(3) * 0.6]
    calibration = calibrate(net, images, HALF)
    calibration.save(tmp_path / 'it.amsr')
    calibration = Calibration.load(tmp_path / 'it.amsr')
    selection = calibration.selection()
    assert selection.keep is None and selection.level > 0
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    keeps = {}
    for keep in (None, 0.5, 0.8):
        net.amsr = AMSRConfig(calibration=calibration, selection=calibration.selection(keep), mode='sparse')
        with torch.no_grad():
            keeps[keep] = [(net(x), float(net.last_keep))[1] for x in images]
    assert keeps[None] == keeps[0.5] and keeps[None][0] < 0.3 < 0.7 < keeps[None][1]
    assert repr(calibration) == (
        f"Calibration(network='EDSR', predictions={len(calibration.prediction.contexts)}, images=3)")
    assert sum(keeps[0.5]) / 3 == pytest.approx(0.5, abs=0.02) and sum(keeps[0.8]) / 3 == pytest.approx(0.8, abs=0.02)
    same = calibrate(network('EDSR', 2), images, HALF, one_level=False)
    assert same.selection() == HALF and same.selection(0.5).level == pytest.approx(selection.level)
    for keep in (1.5, True, 'half'):
        with pytest.raises(UserError, match=f'keep is {keep!r}'):
            calibration.selection(keep)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_network_that_is_half_beforehand(dtype):
    pictures = []
    net, calibration = calibrated()
    x = image(1, 3, 40, 36).to(dtype)
    for half_before in (True, False):
        net = network('EDSR', 2)
        net.to(dtype if half_before else torch.float32)
        accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
        with torch.no_grad():
            if not half_before:
                net(x.float())
            pictures.append(net.to(dtype)(x))
    assert pictures[0].dtype == dtype and torch.equal(*pictures)


def test_mistakes_are_one_line(tmp_path):
    net, calibration = calibrated()
    for other in (network('EDSR', 3), network('CARN', 2), network('EDSR', 2, num_block=3)):
        with pytest.raises(UserError, match='the calibration is of another network, a EDSR'):
            accelerate_(other, AMSRConfig(calibration=calibration))
    with pytest.raises(UserError, match='cannot be read'):
        calibrate(network('SwinIR_light', 2), [image(1, 3, 32, 32)])
    with pytest.raises(UserError, match='too few to fit to'):
        calibrate(net, [image(1, 3, 32, 32)], HighFrequencyMask(keep=1.0, patch_size=4), one_level=False)
    with pytest.raises(UserError, match='leave them out'):
        AMSRConfig(calibration=calibration, dense_first=1)
    for rule in ('keep', 'level'):
        with pytest.raises(UserError, match=f'budget is 0.5, but the selection has a {rule}, 0.25'):
            AMSRConfig(calibration=calibration, budget=0.5, selection=HighFrequencyMask(patch_size=4, **{rule: 0.25}))
    with pytest.raises(UserError, match=r'budget 0.01 of the dense MACs is less than the 0\.\d+'):
        accelerate_(net, AMSRConfig(calibration=calibration, budget=0.01))
        with torch.no_grad():
            net(image(1, 3, 20, 20))
    torch.save({'params': {}}, tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=r'weights\.pth is no calibration'):
        Calibration.load(tmp_path / 'weights.pth')


def test_the_search_finds_the_last_keep_before_the_loss():
    net = network('EDSR', 2)
    images = [image(1, 3, 48, 48) ** (i + 1) for i in range(4)]
    with torch.no_grad():
        truth = [(net(x)[0].permute(1, 2, 0).flip(2) * 250).round().clamp(0, 255).byte().numpy() for x in images[:2]]
    trial = Trial(images[2:], images[:2], truth, 2)
    points, meter = [], Meter(net, trial)
    every = [meter.measure(calibrate(net, trial.fitted, dataclasses.replace(HALF, keep=keep), one_level=False))
             for keep in KEEPS]
    losses = [each.loss for each in every]
    for wanted in (losses[0], losses[6], losses[-1] + 1):
        points.clear()
        found, point = search(net, HALF, trial, wanted, points.append)
        assert point == [each for each in every if each.loss <= wanted][-1] and len(points) <= 5
        assert found.keep == pytest.approx(point.keep, abs=0.04)
    with pytest.raises(UserError, match='allow more'):
        search(net, HALF, trial, -1.0)


def test_nearness_is_that_of_all_channels():
    net = network('EDSR', 2)
    images = [image(1, 3, 48, 48) ** (i + 1) for i in range(3)]
    calibration = calibrate(net, images[:2], HALF, one_level=False)
    everything = dataclasses.replace(calibration.fit, selection=dataclasses.replace(HALF, keep=1.0))
    calibration = dataclasses.replace(calibration, fit=everything)
    meter = Meter(net, Trial(images[:2], images[2:], None, 2))
    assert meter.measure(calibration).fidelity == EQUAL  # finite, so that it does not hide others in a mean
    colour = meter.dense[0] + np.array([0, -12, 24])  # blue, green, red: luminance is nearly the same
    meter.dense = (colour.clip(0, 255).astype('uint8'),)
    assert meter.measure(calibration).fidelity < 30


def test_a_network_of_gray_images():
    net, x = network('DnCNN'), image(2, 1, 33, 40)
    calibration = calibrate(net, [image(1, 1, 40, 40)], HALF, one_level=False)
    accelerate_(net, AMSRConfig(calibration=calibration, mode='sparse'))
    with torch.no_grad():
        sparse = net(x)
        assert float(net.last_keep) == pytest.approx(0.5, abs=0.05)
        net.amsr = dataclasses.replace(net.amsr, mode='dense_masked')
        torch.testing.assert_close(net(x), sparse, rtol=1e-5, atol=1e-5)
