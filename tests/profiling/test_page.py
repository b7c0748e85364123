"""Masks, and what the picture and the page show of a profile."""
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.active_share import active_pixels, last_keep
from basicsr_amsr.profiling.page import page, table
from basicsr_amsr.profiling.profile_picture import MOST, module_macs, own_macs
from basicsr_amsr.profiling.side_by_side import profile_networks, variant_of

NET = MGA({'type': 'FSRCNN', 'upscale': 2, 'num_feat': 6, 'num_shrink': 4}, k=0.4).eval()


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 21), st.integers(8, 21), st.integers(1, 2), st.sampled_from([0, 3, 0.4, 1.0]))
def test_active_pixels_are_those_that_refining_changes(height, width, batch, k):
    net = variant_of(NET, 'M')
    net.k = k
    x = torch.rand(batch, 3, height, width)
    with torch.no_grad():
        changed = (net(x) != variant_of(NET, 'B')(x)).any(1)
        mask = net.active_pixels(x)
    assert mask.shape == (batch, height, width) and mask.dtype == torch.bool
    enlarged = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert not (changed & ~enlarged).any()
    assert (changed & enlarged).sum() >= 0.9 * enlarged.sum()
    if height % 4 == width % 4 == 0:
        assert mask.float().mean() == pytest.approx(net.last_keep)


@pytest.mark.parametrize('variant, share', [('B', 0), ('D', 1), ('A', 1)])
def test_variants_that_need_no_mask(variant, share):
    mask = active_pixels(variant_of(NET, variant), torch.rand(1, 3, 9, 14))
    assert mask.shape == (9, 14) and mask.float().mean() == share


def test_the_true_error_may_choose():
    net = MGA({'type': 'FSRCNN', 'upscale': 2, 'num_feat': 6, 'num_shrink': 4}, k=5, order='oracle').eval()
    assert active_pixels(net, torch.rand(1, 3, 16, 16)).sum() == 5 * 16


def test_a_network_that_selects_nothing_has_no_mask():
    assert active_pixels(nn.Identity(), torch.rand(1, 3, 4, 4)) is None and last_keep(nn.Identity()) == 1


def row(macs):
    return {'macs': macs}


def test_bars_hold_every_mac_once():
    some = {'': row(100), 'a': row(70), 'a.0': row(40), 'a.1': row(10), 'b': row(30)}
    assert own_macs(some) == {'': 0, 'a': 20, 'a.0': 40, 'a.1': 10, 'b': 30}
    other = {'': row(35), 'a': row(5), 'a.0': row(5)}
    assert module_macs({'M': {'by_module': some}, 'D': {'by_module': other}}) == {
        'outside modules': {'M': 0, 'D': 30}, 'a': {'M': 20, 'D': 0}, 'a.0': {'M': 40, 'D': 5},
        'a.1': {'M': 10, 'D': 0}, 'b': {'M': 30, 'D': 0}}


def test_many_modules_end_in_others():
    modules = {'': row(5050), **{f'm{number}': row(number) for number in range(1, 101)}}
    bars = module_macs({'net': {'by_module': modules}})
    assert len(bars) == MOST + 1 and bars['80 others'] == {'net': 80 * 81 / 2}
    assert sum(macs['net'] for macs in bars.values()) == 5050
    assert list(bars)[:2] == ['m81', 'm82']


class Reader(HTMLParser):
    """Counts open tags and collects the text of cells."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == 'td':
            self.cells.append(data)


def test_page_holds_the_figures_and_escapes_names():
    figures = profile_networks({'M': variant_of(NET, 'M'), 'D': variant_of(NET, 'D')}, torch.rand(1, 3, 12, 16), 'D',
                               timing=False)
    reader = Reader()
    reader.feed(page('<title> & more', ['a note'], figures, 'D', b'picture'))
    assert reader.open == []
    for network in figures.values():
        assert {f'{network["params"]:,}', f'{network["macs"] / 1e9:.3f}', 'mask.conv1', 'element by element'} <= set(
            reader.cells)
    assert table(['a<b'], [['1&2']]) == '<table><tr><th>a&lt;b</th></tr><tr><td>1&amp;2</td></tr></table>'
