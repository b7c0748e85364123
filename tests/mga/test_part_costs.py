"""Counted costs of the parts, and the K that a budget allows."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.part_costs import Costs
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.profiling.side_by_side import variant_of
from tests.mga.toy import registered

NETWORKS = ('FSRCNN', 'PAN', 'RFDN', 'SRResNet', 'RCAN')


def macs(net, variant, height, width):
    return count(variant_of(net, variant), torch.empty(1, 3, height, width, device='meta')).macs


@pytest.mark.parametrize(('name', 'scale'), [*((name, 4) for name in NETWORKS), ('PAN', 3), ('SRResNet', 2)])
def test_the_count_is_that_of_the_profiler(name, scale):
    with torch.device('meta'):
        net = MGA({'type': name, 'upscale': scale}, k=7)
    height, width = 21, 38
    costs = net.costs(height, width)
    assert costs.base == macs(net, 'B', height, width)
    assert costs.dense == macs(net, 'D', height, width)
    assert costs.selected(7) == macs(net, 'M', height, width)
    assert costs.selected(60) - costs.mask - costs.coarse == macs(net, 'A', height, width)
    net.k = 60
    assert costs.selected(60) - costs.coarse == macs(net, 'M', height, width)


def test_networks_on_the_cpu_are_counted_without_touching_them():
    net = MGA(registered(), k={'budget': 1.2})
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = net.costs(11, 13)
    assert net.costs(11, 13) is first
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.device.type == 'cpu' for parameter in net.parameters())
    assert MGA(registered()).to(torch.bfloat16).costs(11, 13) == first


@given(feature=st.integers(1, 1000), coarse=st.integers(1, 500), mask=st.integers(0, 100), patch=st.integers(1, 50),
       whole=st.integers(1, 1000), budget=st.floats(0, 3))
def test_a_budget_is_used_up_and_never_exceeded(feature, coarse, mask, patch, whole, budget):
    costs, base = Costs(feature, coarse, mask, patch, whole), feature + coarse
    allowed = budget * costs.dense
    if allowed < base + mask:
        with pytest.raises(UserError, match='split_blocks') as caught:
            costs.k_within(budget, 10**6)
        least = float(str(caught.value).split('less than the ')[1].split()[0])
        assert least * costs.dense >= base + mask - 1e-9 * costs.dense
        assert least > budget
    else:
        k = costs.k_within(budget, 10**6)
        assert costs.selected(k) <= allowed < costs.selected(k + 1)


@torch.no_grad()
def test_what_really_runs_within_a_budget_is_within_it():
    net = MGA({'type': 'RFDN', 'upscale': 2, 'num_feat': 8}, k={'budget': 0.9}).eval()
    for height, width in ((40, 52), (33, 47)):
        ran = count(net, torch.rand(1, 3, height, width)).macs
        costs = net.costs(height, width)
        assert ran <= 0.9 * costs.dense < ran + costs.patch
        assert 0 < net.last_keep < 1
    net.k = {'budget': 10.0}
    net(torch.rand(1, 3, 33, 47))
    assert net.last_keep == 1.0
    net.k = {'budget': 0.1}
    with pytest.raises(UserError, match='without any patch') as caught:
        net(torch.rand(1, 3, 33, 47))
    assert '\n' not in str(caught.value)


def test_a_budget_is_the_same_for_each_image_of_a_batch():
    net = MGA(registered(), k={'budget': 1.6}).eval()
    with torch.no_grad():
        net(torch.rand(1, 3, 40, 40))
        one = net.last_keep
        net(torch.rand(3, 3, 40, 40))
    assert net.last_keep == one
