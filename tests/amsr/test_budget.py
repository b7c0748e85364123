"""A budget of MACs is kept, by the counter of `basicsr profile`, and used up to a patch."""
import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.amsr.test_accelerate import NAMES
from tests.backbones.tiny import image, network


@pytest.mark.parametrize(('patch_size', 'size'), [(1, (17, 22)), (4, (24, 20)), (8, (21, 35))])
@pytest.mark.parametrize('name', NAMES)
def test_it_is_kept_and_used(name, patch_size, size):
    net, x = network(name, 2), image(1, 3, *size)
    dense = count(net, x).macs
    selection = HighFrequencyMask(patch_size=patch_size)
    accelerate_(net, AMSRConfig(HighFrequencyMask(patch_size=patch_size, keep=0.0)))
    rest = count(net, x).macs
    budget = (rest + 0.6 * (dense - rest)) / dense
    accelerate_(net, AMSRConfig(selection, budget=budget))
    used = count(net, x).macs
    cells = min(cells for costs in net.costs.values() for cells, _ in costs.grids)
    area = max(area for costs in net.costs.values() for _, area in costs.grids)
    assert [(costs.dense, costs.rest) for costs in net.costs.values()] == [(dense, rest)]
    assert used <= budget * dense
    assert used > budget * dense - (dense - rest) * (1 / cells * area + 0.002)


def test_each_size_has_its_ratio_and_all_is_the_dense_network():
    net = network('EDSR', 2)
    accelerate_(net, AMSRConfig(HighFrequencyMask(patch_size=4), budget=0.7))
    with torch.no_grad():
        for size in ((16, 16), (18, 30)):
            net(image(2, 3, *size))
            assert float(net.last_keep) == pytest.approx(net.costs[(3, *size)].keep_within(0.7))
    assert len(net.costs) == 2
    accelerate_(net, AMSRConfig(HighFrequencyMask(patch_size=4), budget=1.0))
    with torch.no_grad():
        net(image(1, 3, 18, 30))
    assert float(net.last_keep) == 1.0


def test_mistakes_are_named():
    net = network('EDSR', 2)
    accelerate_(net, AMSRConfig(HighFrequencyMask(), budget=0.1))
    with pytest.raises(UserError, match=r'less than the 0.[0-9]+ that the network takes'), torch.no_grad():
        net(image(1, 3, 8, 8))
    for options in ({'budget': 0}, {'budget': 2}, {'budget': 0.5, 'selection': HighFrequencyMask(keep=0.2)}):
        with pytest.raises(UserError, match='budget'):
            AMSRConfig(**options)
