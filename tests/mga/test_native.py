"""MGA by the native kernels: the pictures that torch makes, in every variant."""
import copy
from types import SimpleNamespace

import pytest
import torch

from basicsr_amsr.execution.dense.form import NativeForm
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.training.engine import by_engine
from tests.backbones.tiny import SPLIT, image, split_options
from tests.execution.one_thread import one_thread
from tests.kernels import needs_kernels

__all__ = ['one_thread']
pytestmark = needs_kernels


def network(name, upscale=4, **options):
    torch.manual_seed(0)
    net = MGA({'type': name, 'upscale': upscale, **split_options(name, 3)}, split_blocks=(2, 1),
              **{'k': 0.3, **options}).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    return net


@torch.no_grad()
@pytest.mark.parametrize('name', SPLIT)
def test_every_variant(name, monkeypatch):
    net, calls = network(name), []
    run = NativeForm.where_it_can

    def counted(*args):
        found = run(*args)
        calls.append(found is not None)
        return found

    monkeypatch.setattr(NativeForm, 'where_it_can', counted)
    for size in ((24, 28), (25, 27)):
        x = image(2, 3, *size)
        for variant in 'BDAM':
            net.set_variant(variant)
            net.set_engine('torch')
            wanted = net(x)
            assert not calls
            net.set_engine('native')
            torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
            assert len(calls) == {'B': 1, 'D': 1, 'A': 2, 'M': 3}[variant] and all(calls)
            calls.clear()
    assert torch.equal(copy.deepcopy(net)(x), net(x))


@torch.no_grad()
@pytest.mark.parametrize('patch_size', [1, 3, 4, 8])
@pytest.mark.parametrize('name', SPLIT)
def test_patches_of_every_size_and_number(name, patch_size, caplog):
    caplog.set_level("WARNING")
    net = network(name, 2 if patch_size % 2 else 4, patch_size=patch_size, chunk=7)
    x = image(2, 3, 13, 18)
    for k in (0, 1, 10, 1.0, {'threshold': 0.2}):
        net.k = k
        net.set_engine('torch')
        wanted = net(x)
        net.set_engine('native')
        torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert not [line for line in caplog.messages if 'patches' in line or 'Runs by torch' in line]


@torch.no_grad()
def test_patches_in_bf16():
    net = network('RFDN', k=1.0)
    x = image(1, 3, 24, 28)
    net.set_engine('native')
    wanted = net(x)
    with torch.autocast('cpu', torch.bfloat16):
        found = net(x)
    assert 0 < float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_gradients_are_torchs():
    net = network('RFDN')
    net.set_engine('native')
    net.set_variant('D')
    net(image(1, 3, 24, 24)).mean().backward()
    assert all(parameter.grad is not None for parameter in net.refine.parameters())


@torch.no_grad()
def test_validations_run_by_the_kernels_unless_told():
    model = SimpleNamespace(net_g=network('FSRCNN'))
    for name, native in (('auto', True), ('native', True), ('torch', False)):
        with by_engine(model, name):
            assert (model.net_g.native is not None) == native
        assert model.net_g.engine == 'torch' and model.net_g.native is None
