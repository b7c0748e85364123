"""Parameters and costs of the MGA networks are those of the paper's table 1."""
import csv
import math

import pytest
import torch

from basicsr_amsr.profiling.macs import count
from basicsr_amsr.profiling.side_by_side import variant_of
from benchmarks.mga_table1 import AREAS, SIZES, VARIANTS, build, cells, line, published

LIMITS = {'B': 1e-3, 'D': 1e-3, 'A': 1e-3, 'M': 3e-3}


@pytest.mark.parametrize('scale', [3, 4])
@pytest.mark.parametrize('network', ['FSRCNN', 'PAN', 'RFDN', 'SRResNet', 'RCAN'])
def test_every_cell(network, scale, shared):
    found = list(cells(network, scale, published(shared / 'paper')))
    assert len(found) == 16
    for cell in found:
        if cell.column == 'params':
            assert cell.ours_printed == cell.paper, cell
        else:
            assert abs(cell.deviation) <= LIMITS[cell.method[-1]], (cell, cell.deviation)


@pytest.mark.parametrize('scale', [3, 4])
def test_mean_area_of_urban100(scale, shared):
    with (shared / 'paper' / 'urban100_sizes.csv').open(encoding='utf-8') as file:
        sides = [[int(row[key]) // scale // 4 * 4 for key in ('height', 'width')] for row in csv.DictReader(file)]
    assert math.fsum(height * width for height, width in sides) / len(sides) == pytest.approx(AREAS['urban100'][scale])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('network', ['FSRCNN', 'RFDN'])
def test_cost_is_linear_in_the_area(network, variant):
    net = variant_of(build(network, 4), variant)
    slope, constant = line(net)
    for size in ((168, 256), (256, 168), (512, 340)):
        assert size not in SIZES
        exact = count(net, torch.empty(1, 3, *size, device='meta')).macs_paper
        assert slope * size[0] * size[1] + constant == pytest.approx(exact, rel=5e-4)


def test_mask_prediction_enters_with_its_first_convolution_only():
    net = build('RFDN', 4)
    result = count(net, torch.empty(1, 3, 64, 64, device='meta'))
    mask = result.by_module['mask']
    assert mask.macs == 64 * 64 * (50 * 50 * 9 + 50 * 2 * 9) + 16 * 16 * 25
    assert mask.macs_paper == 64 * 64 * (50 * 50 * 9 + 50)


@pytest.mark.parametrize(('variant', 'k', 'times'),
                         [('B', 5, 1), ('D', 5, 0), ('A', 5, 0), ('M', 5, 1), ('M', 1000, 0)])
def test_the_coarse_image_is_in_the_papers_figures_whether_it_is_made_or_not(variant, k, times):
    net = variant_of(build('FSRCNN', 4), variant)
    net.k = k
    result = count(net, torch.empty(1, 3, 20, 24, device='meta'))
    head = {name: result.by_module[f'base.upsampler.{name}'] for name in ('expand', 'deconv')}
    assert head['deconv'].macs == times * 20 * 24 * 56 * 3 * 81
    assert head['deconv'].macs_paper == 80 * 96 * 56 * 3 * 81
    assert head['deconv'].activations == times * 80 * 96 * 3
    assert head['expand'].macs_paper == 20 * 24 * (12 * 56 + 56)
    assert all((tally.calls > 0) == (tally.convolutions > 0) == bool(times) for tally in head.values())
    assert result.macs == sum(tally.macs for tally in result.by_op.values())
    assert 'coarse_image' not in vars(net)  # as it was
