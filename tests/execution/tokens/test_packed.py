"""Packed tokens compute what the reference does, and with all of them active what the network does."""
import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.tokens import packed
from basicsr_amsr.execution.tokens.cells import Cells, Window
from basicsr_amsr.execution.tokens.packed import BiasTables, Packed, by_cells
from basicsr_amsr.execution.tokens.whole_maps import Reference
from tests.execution.tokens.networks import NETWORKS, family_of, some_prediction

# Of the largest value. Weights at random magnify rounding: the network itself is as far from its Reference in float32.
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-11}


def near(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((found - wanted).abs().max() <= TOLERANCE[found.dtype] * wanted.abs().max())


@pytest.fixture(scope='module', params=list(NETWORKS))
def made(request):
    net = NETWORKS[request.param]()
    return net, some_prediction(net), BiasTables()


def mask(net, x: torch.Tensor, share: float, seed: int) -> Cells:
    padded, side = family_of(net).pad(net, x), family_of(net).cell
    rows, cols = (-(-length // side) for length in padded.shape[-2:])
    draws = torch.rand(len(x), rows, cols, generator=torch.Generator().manual_seed(seed))
    return Cells(draws < share, side, *padded.shape[-2:])


@torch.no_grad()
def run(net, form_of, x: torch.Tensor) -> torch.Tensor:
    family = family_of(net)
    padded = family.pad(net, x)
    return family.forward(net, padded, form_of(padded))


sizes = st.tuples(st.integers(1, 2), st.integers(16, 41), st.integers(16, 41))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(size=sizes, share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), seed=st.integers(0, 9))
def test_equals_the_reference(made, size, share, seed):
    net, prediction, biases = made
    batch, height, width = size
    x = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
    cells = mask(net, x, share, seed)
    wanted = run(net, lambda image: Reference(image, prediction, cells), x)
    native = run(net, lambda image: Packed(image, prediction, cells, biases), x)
    assert near(native, wanted)
    with MacCounter():  # by torch alone
        watched = run(net, lambda image: Packed(image, prediction, cells, biases), x)
    assert near(watched, wanted)
    x, prediction, net = x.double(), prediction.to(x.double()), copy.deepcopy(net).double()
    wanted = run(net, lambda image: Reference(image, prediction, cells), x)
    assert near(run(net, lambda image: Packed(image, prediction, cells, BiasTables()), x), wanted)


@pytest.mark.parametrize('size', [(1, 32, 32), (2, 37, 43)])
@torch.no_grad()
def test_all_active_is_the_network(made, size):
    net, prediction, biases = made
    x = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(3))
    cells, wanted = mask(net, x, 2.0, 0), net(x)
    for form in (Reference, lambda image: Reference(image, prediction, cells),
                 lambda image: Packed(image, prediction, cells, biases),
                 lambda image: Packed(image, None, cells, biases)):
        found = run(net, form, x)[..., :wanted.shape[-2], :wanted.shape[-1]]
        assert near(found, wanted)


@torch.no_grad()
def test_bf16_is_as_near_as_autocast(made):
    net, prediction, biases = made
    x = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(6))
    cells, wanted = mask(net, x, 2.0, 0), net(x)
    with torch.autocast('cpu', torch.bfloat16):
        autocast = net(x).float()
    found = run(net, lambda image: Packed(image, None, cells, biases, bf16=True), x)
    found = found[..., :wanted.shape[-2], :wanted.shape[-1]]
    error = [float((each - wanted).square().mean()) for each in (found, autocast)]
    assert error[0] <= error[1]
    half = mask(net, x, 0.5, 0)
    found = run(net, lambda image: Packed(image, prediction, half, biases, bf16=True), x)
    wanted = run(net, lambda image: Packed(image, prediction, half, biases), x)
    assert float((found - wanted).square().mean()) <= error[1]
    loaded = library()
    if loaded is not None and loaded.has_bf16:
        assert not torch.equal(found, wanted)


@torch.no_grad()
def test_what_is_skipped_matters(made):
    net, prediction, biases = made
    x = torch.rand(1, 3, 32, 32)
    half = run(net, lambda image: Packed(image, prediction, mask(net, x, 0.5, 0), biases), x)
    assert (half[..., :64, :64] - net(x)).abs().max() > 0.1


@torch.no_grad()
def test_biases_follow_the_weights():
    weight, window, tables = torch.nn.Linear(1, 2), Window(4, 8), BiasTables()

    def bias() -> torch.Tensor:
        return weight(torch.arange(32.0 * 32).view(-1, 1)).T.reshape(2, 32, 32)

    def kept() -> torch.Tensor:
        return tables.of(weight, bias, window, 4)[0]

    before = kept()
    assert kept() is before and before.shape == (2, 2, 16, 2, 16)
    weight.weight.mul_(2)
    assert not torch.equal(kept(), before) and torch.equal(kept(), by_cells(bias(), window, 4)[0])


class Wrapped(torch.nn.Module):
    """A layer with something added to what it gives; its weight is the layer's."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x[..., :1]


@torch.no_grad()
def test_a_wrapped_layer_is_called(made):
    net = copy.deepcopy(made[0])
    layer = 'ffn' if hasattr(net, 'before_RG') else 'mlp'
    owner = next(module for name, module in net.named_modules() if name.endswith(layer))
    owner.fc1 = Wrapped(owner.fc1)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(8))
    cells, wanted = mask(net, x, 2.0, 0), net(x)
    for form in (Reference, lambda image: Packed(image, None, cells, BiasTables())):
        assert near(run(net, form, x)[..., :wanted.shape[-2], :wanted.shape[-1]], wanted)


def test_without_the_native_library(made, monkeypatch):
    net, prediction, biases = made
    x = torch.rand(1, 3, 24, 40)
    cells = mask(net, x, 0.4, 2)
    wanted = run(net, lambda image: Packed(image, prediction, cells, biases), x)
    monkeypatch.setattr(packed, 'library', lambda: None)
    found = run(net, lambda image: Packed(image, prediction, cells, biases), x)
    assert near(found, wanted)


def test_the_reference_has_gradients(made):
    net, prediction, _ = made
    family, x = family_of(net), torch.rand(1, 3, 24, 24, requires_grad=True)
    padded = family.pad(net, x)
    family.forward(net, padded, Reference(padded, prediction, mask(net, x, 0.5, 4))).square().mean().backward()
    grads = [p.grad for name, p in net.named_parameters() if 'ffn' in name or 'mlp' in name]
    assert x.grad.abs().sum() > 0 and all(grad is not None and grad.abs().sum() > 0 for grad in grads)
