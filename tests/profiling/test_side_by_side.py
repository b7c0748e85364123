"""Figures of networks side by side."""
import pytest
import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling.side_by_side import (
    environment,
    profile_network,
    profile_networks,
    share_of_dense,
    variant_of,
)


class Selective(nn.Module):
    """A 1×1 convolution on the brightest share of the pixels, or on all."""

    def __init__(self, share=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.share = share
        self.last_keep = 1.0

    def set_variant(self, share):
        self.share = share

    def forward(self, x):
        pixels = x.flatten(2)
        chosen = int(self.share * pixels.shape[2])
        index = pixels.mean((0, 1)).topk(chosen).indices
        self.last_keep = chosen / pixels.shape[2]
        out = pixels.clone()
        out[:, :, index] = self.conv(pixels[:, :, index][..., None])[..., 0]
        return out.view_as(x)


X = torch.rand(1, 3, 16, 20)


def test_figures_and_ratios_of_a_network_that_selects():
    dense = Selective()
    results = profile_networks({'quarter': variant_of(dense, 0.25), 'dense': dense}, X, dense='dense', budget=0)
    quarter, whole = results['quarter'], results['dense']
    assert (quarter['macs'], whole['macs']) == (80 * 9, 320 * 9)
    assert (quarter['keep'], whole['keep']) == (0.25, 1.0)
    assert quarter['params'] == whole['params'] == 12
    assert quarter['output_size'] == [16, 20]
    assert quarter['uncounted'] == {}
    assert 0 < quarter['latency_ms']['q1'] <= quarter['latency_ms']['median'] <= quarter['latency_ms']['q3']
    assert quarter['latency_ms']['samples'] >= 5
    assert quarter['peak_memory_mb'] > 3 * 320 * 4 / 2**20
    assert (quarter['ratios']['macs'], quarter['ratios']['ideal'], quarter['ratios']['params']) == (0.25, 4.0, 1.0)
    assert quarter['ratios']['speed_up'] == pytest.approx(4 * quarter['ratios']['efficiency'])
    assert whole['ratios'] == dict.fromkeys(whole['ratios'], 1.0)
    assert dense.share == 1.0


def test_ratios_are_the_definitions():
    own = {'params': 5, 'macs': 40, 'macs_paper': 50, 'peak_memory_mb': 3.0}
    dense = {'params': 4, 'macs': 100, 'macs_paper': 100, 'peak_memory_mb': 6.0}
    assert share_of_dense(own, dense, 0.5) == {
        'params': 1.25, 'macs': 0.4, 'macs_paper': 0.5, 'peak_memory': 0.5, 'time_share': 0.5, 'ideal': 2.5,
        'speed_up': 2.0, 'efficiency': 0.8}
    nothing = {**own, 'macs': 0, 'peak_memory_mb': None}
    assert share_of_dense(nothing, nothing, None) == {
        'params': 1.0, 'macs': None, 'macs_paper': 1.0, 'peak_memory': None, 'time_share': None, 'ideal': None,
        'speed_up': None, 'efficiency': None}


def test_without_timing_and_memory_nothing_is_measured():
    report = profile_network(Selective(), X, timing=False, memory=False)
    assert report['latency_ms'] is None and report['peak_memory_mb'] is None
    assert 'dense' not in report and 'ratios' not in report


def test_one_network_has_the_dense_one_beside_it():
    report = profile_network(Selective(0.5), X, Selective(), timing=False, memory=False, num_threads=1)
    assert report['ratios']['macs'] == 0.5 and report['dense']['macs'] == 320 * 9
    assert report['threads'] == 1
    assert (report['device'], report['dtype'], report['size'], report['batch']) == ('cpu', 'float32', [16, 20], 1)
    assert report['torch'] == torch.__version__


def test_environment_tells_the_memory_format():
    assert not environment(X)['channels_last']
    assert environment(X.to(memory_format=torch.channels_last))['channels_last']
    assert environment(X.half())['dtype'] == 'float16'


def test_modes_come_back_also_after_a_failure():
    net = Selective()
    assert net.training
    profile_networks({'net': net}, X, timing=False, memory=False)
    assert net.training
    with pytest.raises(UserError, match=r'net does not take an input of 16x20 \(5 channels, float32\)'):
        profile_networks({'net': net}, torch.rand(1, 5, 16, 20), timing=False)
    assert net.training and not net._forward_hooks


def test_a_dense_network_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"'dens' is not among those profiled\. Did you mean dense"):
        profile_networks({'dense': Selective()}, X, dense='dens')
