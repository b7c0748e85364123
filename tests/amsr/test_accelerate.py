"""Every adapter and mode: sparse = a reference made of hooks on the plain network; full mask = plain; restore_
undoes."""
import copy
import pickle
import threading
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs import edsr_arch, rcan_arch, rrdbnet_arch, swinir_arch
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.backbones import carn_backbone, fsrcnn_backbone, pan_backbone, rfdn_backbone, srresnet_backbone
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.backbones.tiny import image, network

NAMES = ['CARN', 'CARN_M', 'EDSR', 'MSRResNet', 'SRResNet', 'RCAN', 'RRDBNet', 'PAN', 'RFDN', 'FSRCNN', 'SwinIR',
         'SwinIR_light']


@dataclass(frozen=True)
class Chosen:
    """Random patches and windows, the same for every forward pass."""

    density: float
    patch_size: int = 4

    def patches(self, images):
        return self._random(len(images), -(-images.shape[2] // self.patch_size), -(-images.shape[3] // self.patch_size))

    def windows(self, images, size, shifts):
        return [self._random(len(images), images.shape[2] // size, images.shape[3] // size, shift)
                for shift in shifts]

    def _random(self, *shape, seed=0):
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.rand(shape[:3], generator=generator) < self.density


def net_and_image(name, scale=2, size=(21, 27)):
    net = network(name, scale)
    with torch.no_grad():
        for parameter in net.parameters():  # so that no unit is nearly the identity
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    return net, image(3, 3, *size)


def run(net, x, selection, mode='sparse', **options):
    accelerate_(net, AMSRConfig(selection=selection, mode=mode, **options))
    with torch.no_grad():
        return net(x)


def mask_of(selection, x, reduce=1):
    rows, cols = (-(-side // reduce) for side in x.shape[2:])
    patches = selection.patches(x[:, :, :rows, :cols])
    wide = patches.repeat_interleave(selection.patch_size, 1).repeat_interleave(selection.patch_size, 2)
    return wide[:, None, :rows, :cols]


UNITS = (carn_backbone.ResidualBlock, carn_backbone.EfficientBlock, srresnet_backbone.ResidualBlock, pan_backbone.SCPA,
         edsr_arch.ResidualBlockNoBN, rcan_arch.RCAB, rrdbnet_arch.ResidualDenseBlock)
# The convolutions in a unit that read, in these channels and those after, what other convolutions made.
INNER = {'ResidualBlock': {'body.2': 0, 'conv2': 0}, 'EfficientBlock': {'body.2': 0}, 'ResidualBlockNoBN': {'conv2': 0},
         'RCAB': {'rcab.2': 0}, 'ResidualDenseBlock': {f'conv{i}': 8 for i in (2, 3, 4, 5)},
         'SCPA': {'plain': 0, 'attentive.conv1': 0, 'attentive.conv2': 0}}


def reference(net, x, selection, scale):
    """The plain network with hooks that mask what its units read inside and give."""
    net = copy.deepcopy(net)
    mask = mask_of(selection, x, 2 if isinstance(net, rrdbnet_arch.RRDBNet) and scale == 2 else 1)

    def keep(module, args, output):
        return torch.where(mask, output, args[0])

    def average(module, args, output):
        return (args[0] * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)

    for module in net.modules():
        if isinstance(module, UNITS):
            module.register_forward_hook(keep)
            for path, first in INNER[type(module).__name__].items():
                if path in dict(module.named_modules()):
                    module.get_submodule(path).register_forward_pre_hook(
                        lambda m, args, first=first: torch.cat([args[0][:, :first], args[0][:, first:] * mask], 1))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_hook(average)
        if isinstance(module, rfdn_backbone.RFDB):
            for shallow in module.shallow:  # act(conv(x) + x): the activation of what is skipped is undone
                shallow.register_forward_hook(
                    lambda m, args, out: torch.where(mask, out, F.leaky_relu(args[0], 1 / 0.05) - args[0]))
        if isinstance(module, swinir_arch.SwinTransformerBlock):
            module.register_forward_hook(keep_windows(selection, len(x)))
    if isinstance(net, fsrcnn_backbone.FSRCNN):
        for conv, act in zip(net.mapping[::2], net.mapping[1::2], strict=True):
            act.register_forward_hook(
                lambda m, args, out, conv=conv: torch.where(mask, out, conv.read))
            conv.register_forward_hook(lambda m, args, out: setattr(m, 'read', args[0]))
    with torch.no_grad():
        return net(x)


def keep_windows(selection, batch):
    def hook(module, args, output):
        x, (height, width) = args
        size, shift = module.window_size, module.shift_size
        windows, = selection.windows(torch.empty(batch, 3, height, width), size, (shift,))
        mask = windows.repeat_interleave(size, 1).repeat_interleave(size, 2)
        mask = torch.roll(mask, (shift, shift), (1, 2)).flatten(1)[..., None]
        return torch.where(mask, output, x)

    return hook


@pytest.mark.parametrize('density', [0.0, 0.4, 1.0])
@pytest.mark.parametrize('patch_size', [1, 4])
@pytest.mark.parametrize('name', NAMES)
def test_sparse_equals_the_plain_network_with_masks(name, patch_size, density):
    net, x = net_and_image(name)
    selection = Chosen(density, patch_size)
    expected = reference(net, x, selection, 2)
    if 0 < density < 1:
        assert (expected - net(x)).abs().max() > 1e-3
    for mode in ('sparse', 'dense_masked'):
        torch.testing.assert_close(run(net, x, selection, mode), expected, rtol=1e-5, atol=1e-5)
    assert float(net.last_keep) == pytest.approx(density, abs=0.15 if 0 < density < 1 else 0)


@pytest.mark.parametrize('name', NAMES)
def test_full_masks_are_the_plain_network_and_restore_undoes(name):
    net, x = net_and_image(name, 2 if name == 'RRDBNet' else 3)
    with torch.no_grad():
        plain = net(x)
    keys, classes = list(net.state_dict()), [type(module) for module in net.modules()]
    torch.testing.assert_close(run(net, x, Chosen(1.0)), plain, rtol=1e-5, atol=1e-5)
    report = accelerate_(net, AMSRConfig(selection=Chosen(0.4)))
    assert list(net.state_dict()) == keys
    assert report.by == 'adapter' and report.converted and 0 < report.share < 1 and report.dense
    assert all(path in str(report) for path in report.dense)
    restore_(net)
    with torch.no_grad():
        assert torch.equal(net(x), plain)
    assert list(net.state_dict()) == keys and [type(module) for module in net.modules()] == classes
    assert not any(key in module.__dict__ for module in net.modules() for key in ('amsr', 'skip', 'variant'))


@pytest.mark.parametrize('name', NAMES)
def test_copies_pickles_and_half_precision(name):
    net, x = net_and_image(name)
    expected = run(net, x, Chosen(0.4))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(twin) is type(net)
        restore_(net)  # the copy goes on without it
        with torch.no_grad():
            assert torch.equal(twin(x), expected)
        accelerate_(net, AMSRConfig(selection=Chosen(0.4), mode='sparse'))
    low = copy.deepcopy(net).bfloat16()
    with torch.no_grad():
        small = low(x.bfloat16())
        reference = restore_(low)
        accelerate_(reference, AMSRConfig(selection=Chosen(0.4), mode='dense_masked'))
        masked = reference(x.bfloat16())
        with torch.autocast('cpu', torch.bfloat16):
            cast = net(x)
    assert small.dtype == torch.bfloat16
    scale = expected.abs().max()
    assert (small - masked).abs().max() < 0.03 * scale and (cast - expected).abs().max() < 0.05 * scale


@pytest.mark.parametrize('name', ['EDSR', 'RCAN', 'RFDN', 'SwinIR_light'])
def test_gradients_go_through_the_dense_masked_form(name):
    net, x = net_and_image(name)
    accelerate_(net, AMSRConfig(selection=Chosen(0.4)))
    net(x).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    with torch.no_grad():
        sparse = net(x)
    net.set_variant('D')
    dense = net(x).detach()
    assert net.last_keep == 1.0
    torch.testing.assert_close(dense, restore_(net)(x).detach())
    assert not torch.allclose(dense, sparse, atol=1e-3)


def test_each_image_has_its_own_mask_whatever_stands_beside_it():
    net, _ = net_and_image('CARN_M')
    selection = HighFrequencyMask(smooth=5, patch_size=4, threshold=0.3)
    x = torch.stack([image(3, 20, 24), torch.full((3, 20, 24), 0.5), image(3, 20, 24).flip(2) ** 3])
    together = run(net, x, selection)
    for one, alone in zip(x, together, strict=True):
        torch.testing.assert_close(run(net, one[None], selection)[0], alone, rtol=1e-5, atol=1e-5)


def test_threads_do_not_share_masks():
    net, x = net_and_image('EDSR')
    accelerate_(net, AMSRConfig(selection=HighFrequencyMask(keep=0.5, patch_size=4), mode='sparse'))
    images = [x[:, :, :8 + i, :20 - i] for i in range(8)]
    with torch.no_grad():
        expected = [net(one) for one in images]
    results = [None] * len(images)

    def work(number):
        with torch.no_grad():
            for _ in range(5):
                results[number] = net(images[number])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


def test_a_replica_as_data_parallel_makes_it_runs_with_its_own_weights():
    net, x = net_and_image('RCAN')
    accelerate_(net, AMSRConfig(selection=Chosen(0.4), mode='sparse'))
    replicas = {module: module._replicate_for_data_parallel() for module in net.modules()}
    for module, replica in replicas.items():
        for key, child in module._modules.items():
            replica._modules[key] = replicas[child]
        for key, parameter in module._parameters.items():
            setattr(replica, key, None if parameter is None else parameter.detach() * 2)
    doubled = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in doubled.parameters():
            parameter.mul_(2)
        assert torch.equal(replicas[net](x), doubled(x))


def test_wrapped_networks_are_converted_inside():
    net, x = net_and_image('EDSR')
    wrapped = nn.DataParallel(net)
    accelerate_(wrapped, AMSRConfig(selection=Chosen(0.4), mode='sparse'))
    assert type(wrapped) is nn.DataParallel
    with torch.no_grad():
        assert torch.equal(wrapped(x), net(x))
    restore_(wrapped)
    assert 'amsr' not in net.__dict__ and type(net.body[0]) is edsr_arch.ResidualBlockNoBN


def test_identity_per_convolution():
    net, x = net_and_image('EDSR')
    selection, twin = Chosen(0.4), copy.deepcopy(net)
    mask = mask_of(selection, x)
    for block in twin.body:
        for conv in (block.conv1, block.conv2):
            conv.register_forward_hook(lambda m, args, out: torch.where(mask, out, args[0]))
    with torch.no_grad():
        torch.testing.assert_close(run(net, x, selection, unit='conv'), twin(x), rtol=1e-5, atol=1e-5)
    assert set(accelerate_(net, AMSRConfig(unit='conv')).converted.values()) == {'Conv2d'}


def test_leading_units_stay_dense():
    net, x = net_and_image('EDSR')
    selection, twin = Chosen(0.4), copy.deepcopy(net)
    mask = mask_of(selection, x)
    twin.body[1].register_forward_hook(lambda m, args, out: torch.where(mask, out, args[0]))
    twin.body[1].conv2.register_forward_pre_hook(lambda m, args: (args[0] * mask,))
    with torch.no_grad():
        expected = twin(x)
    torch.testing.assert_close(run(net, x, selection, dense_first=1), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match='dense_first: 2 none'):
        accelerate_(net, AMSRConfig(dense_first=2))


def test_mistakes_are_named():
    with pytest.raises(UserError, match='no residual block'):
        accelerate_(nn.Sequential(nn.Conv2d(3, 3, 3)))
    net, _ = net_and_image('SwinIR_light')
    with pytest.raises(UserError, match='unit: conv'):
        accelerate_(net, AMSRConfig(unit='conv'))
    assert type(net) is type(network('SwinIR_light', 2))
    net = network('EDSR', 2, num_in_ch=2, rgb_mean=(0.5, 0.5))
    with pytest.raises(UserError, match='luminance'):
        run(net, torch.rand(1, 2, 8, 8), HighFrequencyMask())
    net.forward = net.forward
    with pytest.raises(UserError, match='replaced'):
        accelerate_(net)
    for options in ({'unit': 'block'}, {'mode': 'fast'}, {'dense_first': -1},
                    {'backend': 'cuda'}):
        with pytest.raises(UserError, match=next(iter(options))):
            AMSRConfig(**options)
